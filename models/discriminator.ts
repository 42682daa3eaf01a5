/** The discriminator of stage I: PatchGAN, which judges overlapping patches of an image. @module */

import { leakyRelu } from "../nn/activation.ts";
import { BatchNorm } from "../nn/batch_norm.ts";
import { cast } from "../nn/cast.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { type Initializer, Module, type ModuleContext } from "../nn/module.ts";
import type { Tensor } from "../nn/tensor.ts";

/** Sizes of a {@linkcode NLayerDiscriminator}. */
export interface DiscriminatorOptions {
  /** Channels of the images, default 3. */
  inChannels?: number;
  /** Channels of the first convolution, default 64; they double at each further one, up to eightfold. */
  ndf?: number;
  /** Convolutions of stride 2, at least 1; default 3. */
  numLayers?: number;
}

const SLOPE = 0.2;
/** Kernel and padding of every convolution, and how its weights are drawn. */
const CONVOLUTION: { kernel: number; padding: number; initializer: Initializer } = {
  kernel: 4,
  padding: 1,
  initializer: { kind: "normal", standardDeviation: 0.02 },
};

/** A convolution, the normalization behind it if there is one, and whether an activation follows. */
interface Layer {
  convolution: Conv2d;
  norm: BatchNorm | undefined;
  activation: boolean;
}

/**
 * PatchGAN: 4×4 convolutions, the first `numLayers` of stride 2, with batch normalization and leaky ReLU between them.
 *
 * Weights start as N(0, 0.02), those of the normalizations as N(1, 0.02).
 *
 * @see Isola et al. 2017, arXiv:1611.07004, section 3.2.2; SEED-Voken src/IBQ/modules/discriminator/model.py, `NLayerDiscriminator`.
 */
export class NLayerDiscriminator extends Module {
  readonly #layers: Layer[] = [];

  /**
   * Makes all layers.
   *
   * @param context Makes the parameters.
   * @param options Sizes.
   * @throws {RangeError} If there is no layer of stride 2.
   */
  constructor(context: ModuleContext, options: DiscriminatorOptions = {}) {
    super();
    const { inChannels = 3, ndf = 64, numLayers = 3 } = options;
    if (!(numLayers >= 1)) {
      throw new RangeError(
        `Cannot make a discriminator: expected at least 1 layer, found ${numLayers}`,
      );
    }
    // Convolutions, normalizations and activations are counted together in the reference's names.
    let index = 0;
    const add = (
      inputs: number,
      outputs: number,
      { stride, norm, activation }: { stride: number; norm: boolean; activation: boolean },
    ): void => {
      const convolution = this.register(
        `main.${index++}`,
        new Conv2d(context, { ...CONVOLUTION, inputs, outputs, stride, bias: !norm }),
      );
      const weight: Initializer = { kind: "normal", mean: 1, standardDeviation: 0.02 };
      this.#layers.push({
        convolution,
        norm: norm
          ? this.register(`main.${index++}`, new BatchNorm(context, { channels: outputs, weight }))
          : undefined,
        activation,
      });
      if (activation) index++;
    };
    add(inChannels, ndf, { stride: 2, norm: false, activation: true });
    let channels = ndf;
    for (let layer = 1; layer <= numLayers; layer++) {
      const outputs = ndf * Math.min(2 ** layer, 8);
      const stride = layer === numLayers ? 1 : 2;
      add(channels, outputs, { stride, norm: true, activation: true });
      channels = outputs;
    }
    add(channels, 1, { stride: 1, norm: false, activation: false });
  }

  /**
   * Judges each patch of each image.
   *
   * @param x Images, shape (batch, height, width, inChannels), in [-1, 1], f32 or f16: the activations have their type.
   * @param options `training`: whether the normalizations use the batch and update their running averages.
   * @returns Logits, shape (batch, rows of patches, columns of patches, 1), f32; positive: looks real.
   * @throws {RangeError} If the images are too small for the layers.
   */
  forward(x: Tensor, options: { training: boolean }): Tensor {
    let h = x;
    for (const { convolution, norm, activation } of this.#layers) {
      const input = h;
      h = x.tape.scope(() => {
        const y = convolution.forward(input);
        const normalized = norm ? norm.forward(y, options) : y;
        return activation ? leakyRelu(normalized, SLOPE) : normalized;
      });
    }
    return cast(h, "f32");
  }
}

/** LPIPS: how different two images look, by the features of a frozen VGG16. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { relu, square } from "../nn/activation.ts";
import { cast } from "../nn/cast.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { add, reshape } from "../nn/math.ts";
import { type Initializer, Module, ModuleContext } from "../nn/module.ts";
import { maxPool } from "../nn/pooling.ts";
import { mean } from "../nn/reduce.ts";
import { standardize } from "../nn/standardize.ts";
import type { Parameter, ParameterOptions, Tensor } from "../nn/tensor.ts";
import { unitLength } from "../nn/unit_length.ts";
import { fillHashed } from "./hashed_uniform.ts";
import { fileShape, writeFileTensor } from "./weights.ts";

/** Channels of VGG16's five blocks. */
export const VGG16_WIDTHS: readonly number[] = [64, 128, 256, 512, 512];
/** Convolutions of each block. */
const BLOCK_CONVOLUTIONS = [2, 2, 3, 3, 3];
/** Mean and deviation of ImageNet's pixels as LPIPS v0.1 fixes them, for images in [-1, 1]. */
const SHIFT = [-0.030, -0.088, -0.188];
const SCALE = [0.458, 0.448, 0.450];

/** Sizes of a {@linkcode Lpips}. */
export interface LpipsOptions {
  /** Channels of the five blocks, default {@linkcode VGG16_WIDTHS}. */
  widths?: readonly number[];
  /** Salt of the hashed weights that it starts with, default 0; load other weights over them if there are any. */
  salt?: number;
}

/** Makes parameters that no optimizer updates. */
class FrozenContext extends ModuleContext {
  override parameter(
    shape: readonly number[],
    initializer: Initializer,
    options: ParameterOptions = {},
  ): Parameter {
    return super.parameter(shape, initializer, { ...options, trainable: false });
  }
}

/** VGG16 up to the fifth block, as slices that end behind the last activation of each block. */
class Vgg16 extends Module {
  readonly #blocks: Conv2d[][] = [];

  constructor(context: ModuleContext, widths: readonly number[]) {
    super();
    let inputs = 3;
    // Convolutions, activations and poolings are counted together in the reference's names.
    let index = 0;
    for (const [block, outputs] of widths.entries()) {
      const convolutions: Conv2d[] = [];
      for (let i = 0; i < BLOCK_CONVOLUTIONS[block]!; i++) {
        const convolution = new Conv2d(context, { inputs, outputs, kernel: 3, padding: 1 });
        convolutions.push(this.register(`slice${block + 1}.${index}`, convolution));
        index += 2;
        inputs = outputs;
      }
      index++;
      this.#blocks.push(convolutions);
    }
  }

  forward(x: Tensor): Tensor[] {
    const features: Tensor[] = [];
    let h = x;
    for (const [block, convolutions] of this.#blocks.entries()) {
      const input = h;
      h = x.tape.scope(() => {
        let y = block === 0 ? input : maxPool(input, { kernel: 2 });
        for (const convolution of convolutions) y = relu(convolution.forward(y));
        return y;
      });
      features.push(h);
    }
    return features;
  }
}

/**
 * Learned perceptual image patch similarity with the VGG16 network. All parameters are frozen.
 *
 * It starts with weights hashed from their names: uniform with He's bound for the convolutions, biases 0, heads in [0, 1). With such
 * random features it is still a distance that sees edges and textures, but not the published metric.
 *
 * @see Zhang et al. 2018, arXiv:1801.03924, eq. 1; SEED-Voken src/IBQ/modules/losses/lpips.py, `LPIPS`.
 */
export class Lpips extends Module {
  readonly #shift: Parameter;
  readonly #scale: Parameter;
  readonly #network: Vgg16;
  readonly #heads: Conv2d[] = [];

  /**
   * Makes the network and its heads, with hashed weights.
   *
   * @param gpu The device; undefined for an outline (see {@linkcode ModuleContext.outline}).
   * @param options Channels, and salt of the initial weights.
   * @throws {RangeError} If there are not five positive numbers of channels.
   */
  constructor(gpu: Gpu | undefined, options: LpipsOptions = {}) {
    super();
    const { widths = VGG16_WIDTHS, salt = 0 } = options;
    if (
      widths.length !== BLOCK_CONVOLUTIONS.length ||
      widths.some((width) => !(Number.isInteger(width) && width >= 1))
    ) {
      throw new RangeError(
        `Cannot make LPIPS: expected ${BLOCK_CONVOLUTIONS.length} positive numbers of channels, found [${widths}]`,
      );
    }
    const context = new FrozenContext(gpu, salt, { initialize: false });
    this.#shift = this.register("scaling_layer.shift", constants(context, SHIFT));
    this.#scale = this.register("scaling_layer.scale", constants(context, SCALE));
    this.#network = this.register("net", new Vgg16(context, widths));
    for (const [i, inputs] of widths.entries()) {
      const head = new Conv2d(context, { inputs, outputs: 1, kernel: 1, bias: false });
      this.#heads.push(this.register(`lin${i}.model.1`, head));
    }
    if (gpu && !gpu.isDry) this.#writeHashed(salt);
  }

  /**
   * Features of images: the activations at the end of each block.
   *
   * @param x Images, shape (batch, height, width, 3), in [-1, 1], at least 16 pixels high and wide, f32 or f16.
   * @returns In the type of `x`: five tensors (batch, height / 2^i, width / 2^i, widths[i]).
   */
  features(x: Tensor): Tensor[] {
    return this.#network.forward(standardize(x, { shift: this.#shift, scale: this.#scale }));
  }

  /**
   * Distances by layer: positions averaged, channels weighted by the layer's head.
   *
   * @param x Images, shape (batch, height, width, 3), in [-1, 1], f32 or f16: the features have their type.
   * @param y Images of the same shape and type.
   * @returns Five tensors (batch), f32, as are differences of features.
   */
  layers(x: Tensor, y: Tensor): Tensor[] {
    const [a, b] = [this.features(x), this.features(y)];
    return this.#heads.map((head, i) => {
      const direction = (x: Tensor): Tensor => unitLength(cast(x, "f32"));
      const difference = add(direction(a[i]!), direction(b[i]!), { beta: -1 });
      const [batch = 0, , , channels = 0] = difference.shape;
      // The head is linear, so that averaging first gives the same and leaves it next to nothing to do.
      const squares = mean(square(difference), { axes: [1, 2] });
      return reshape(head.forward(reshape(squares, [batch, 1, 1, channels])), [batch]);
    });
  }

  /**
   * Distance of each pair of images.
   *
   * @param x Images, shape (batch, height, width, 3), in [-1, 1], f32 or f16: the features have their type.
   * @param y Images of the same shape and type.
   * @returns Shape (batch), f32: the sum over layers.
   */
  forward(x: Tensor, y: Tensor): Tensor {
    return x.tape.scope(() => this.layers(x, y).reduce((sum, layer) => add(sum, layer)));
  }

  #writeHashed(salt: number): void {
    for (const [name, parameter] of this.namedParameters()) {
      if (name.startsWith("scaling_layer")) continue;
      const values = new Float32Array(parameter.size);
      if (name.startsWith("lin")) fillHashed(values, { name, salt, center: 0, factor: 1 });
      else if (name.endsWith("weight")) {
        const [, inputs = 1, height = 1, width = 1] = fileShape(parameter);
        fillHashed(values, { name, salt, factor: 2 * Math.sqrt(6 / (inputs * height * width)) });
      }
      writeFileTensor(parameter, values);
    }
  }
}

function constants(context: ModuleContext, values: readonly number[]): Parameter {
  const shape = [1, 1, 1, values.length];
  return context.table(shape, () => Float32Array.from(values), { filePermutation: [0, 2, 3, 1] });
}

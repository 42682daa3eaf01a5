/** Building blocks of encoder and decoder: residual and attention blocks, and the steps between resolutions. @module */

import { attention } from "../nn/attention.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { dropout } from "../nn/dropout.ts";
import { GroupNorm } from "../nn/group_norm.ts";
import { reshape } from "../nn/math.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import { upsampleNearest2 } from "../nn/resample.ts";
import { dims, type Tensor } from "../nn/tensor.ts";

/** Sizes of encoder and decoder: the `ddconfig` of the reference's configurations. */
export interface EncoderDecoderOptions {
  /** Channels between encoder and quantizer's convolution. */
  readonly zChannels: number;
  /** Width and height in pixels for which `attnResolutions` holds. */
  readonly resolution: number;
  /** Channels of the images. */
  readonly inChannels: number;
  /** Channels of the reconstructions. */
  readonly outCh: number;
  /** Channels of the first level. */
  readonly ch: number;
  /** Multiple of `ch` at each level, highest resolution first; each further level halves the resolution. */
  readonly chMult: readonly number[];
  /** Residual blocks of a level of the encoder; the decoder has one more. */
  readonly numResBlocks: number;
  /** Resolutions at which attention follows each residual block. */
  readonly attnResolutions: readonly number[];
  /** Probability of dropout in the residual blocks, while training. */
  readonly dropout: number;
  /** Groups of every group norm; 32 in the reference. */
  readonly numGroups: number;
  /**
   * Levels, 0 the highest resolution, whose blocks keep only their results for the backward pass and compute the rest again: less
   * memory, more time, the same gradients. Default: none.
   */
  readonly checkpointLevels?: readonly number[];
}

/** Whether a forward pass trains: dropout is active then. */
export interface ForwardOptions {
  /** Default false. */
  training?: boolean;
}

/**
 * Residual block: norm → swish → conv 3×3 → norm → swish → dropout → conv 3×3, added to its input.
 *
 * Where the number of channels changes, a 1×1 convolution brings the input along.
 *
 * @see SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `ResnetBlock`.
 */
export class ResnetBlock extends Module {
  readonly #norm1: GroupNorm;
  readonly #conv1: Conv2d;
  readonly #norm2: GroupNorm;
  readonly #conv2: Conv2d;
  readonly #shortcut: Conv2d | undefined;
  readonly #dropout: number;

  /**
   * Makes the two convolutions, their norms and, where channels change, the shortcut.
   *
   * @param context Makes the parameters.
   * @param options Channels in and out, and what the whole model shares.
   */
  constructor(
    context: ModuleContext,
    options: { inputs: number; outputs: number; numGroups: number; dropout: number },
  ) {
    super();
    const { inputs, outputs, numGroups: groups } = options;
    this.#dropout = options.dropout;
    this.#norm1 = this.register("norm1", new GroupNorm(context, { channels: inputs, groups }));
    this.#conv1 = this.register(
      "conv1",
      new Conv2d(context, { inputs, outputs, kernel: 3, padding: 1 }),
    );
    this.#norm2 = this.register("norm2", new GroupNorm(context, { channels: outputs, groups }));
    this.#conv2 = this.register(
      "conv2",
      new Conv2d(context, { inputs: outputs, outputs, kernel: 3, padding: 1 }),
    );
    if (inputs !== outputs) {
      this.#shortcut = this.register(
        "nin_shortcut",
        new Conv2d(context, { inputs, outputs, kernel: 1 }),
      );
    }
  }

  /**
   * Adds what the two convolutions make of the input to it.
   *
   * @param x Activations, shape (batch, height, width, inputs).
   * @param options Whether dropout is active.
   * @returns Shape (batch, height, width, outputs).
   */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return x.tape.scope(() => {
      const h = this.#conv1.forward(this.#norm1.forward(x, { swish: true }));
      const activated = this.#norm2.forward(h, { swish: true });
      const probability = options.training ? this.#dropout : 0;
      const residual = this.#shortcut ? this.#shortcut.forward(x) : x;
      return this.#conv2.forward(dropout(activated, probability), { residual });
    });
  }
}

/**
 * Attention of all positions of an image to each other, with one head, added to its input.
 *
 * @see SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `AttnBlock`.
 */
export class AttentionBlock extends Module {
  readonly #norm: GroupNorm;
  readonly #query: Conv2d;
  readonly #key: Conv2d;
  readonly #value: Conv2d;
  readonly #output: Conv2d;

  /**
   * Makes the norm and the four projections.
   *
   * @param context Makes the parameters.
   * @param options Channels, and groups of the norm.
   */
  constructor(context: ModuleContext, options: { channels: number; numGroups: number }) {
    super();
    const { channels, numGroups: groups } = options;
    const convolution = (): Conv2d =>
      new Conv2d(context, { inputs: channels, outputs: channels, kernel: 1 });
    this.#norm = this.register("norm", new GroupNorm(context, { channels, groups }));
    this.#query = this.register("q", convolution());
    this.#key = this.register("k", convolution());
    this.#value = this.register("v", convolution());
    this.#output = this.register("proj_out", convolution());
  }

  /**
   * Adds what the positions see of each other to the input.
   *
   * @param x Activations, shape (batch, height, width, channels).
   * @returns Same shape.
   */
  forward(x: Tensor): Tensor {
    const { batch, height, width, channels } = dims(
      x,
      "batch height width channels",
      "AttentionBlock",
    );
    return x.tape.scope(() => {
      const normalized = this.#norm.forward(x);
      const tokens = (convolution: Conv2d): Tensor =>
        reshape(convolution.forward(normalized), [batch, height * width, 1, channels]);
      const mixed = attention(tokens(this.#query), tokens(this.#key), tokens(this.#value));
      return this.#output.forward(reshape(mixed, x.shape), { residual: x });
    });
  }
}

/**
 * Halves the resolution by a 3×3 convolution of stride 2; zeros are added at the right and at the bottom only.
 *
 * @see SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `Downsample`.
 */
export class Downsample extends Module {
  readonly #conv: Conv2d;

  /**
   * Makes the convolution.
   *
   * @param context Makes the parameters.
   * @param channels Channels in and out.
   */
  constructor(context: ModuleContext, channels: number) {
    super();
    this.#conv = this.register(
      "conv",
      new Conv2d(context, {
        inputs: channels,
        outputs: channels,
        kernel: 3,
        stride: 2,
        padding: [0, 1, 0, 1],
      }),
    );
  }

  /**
   * Halves the resolution.
   *
   * @param x Activations, shape (batch, height, width, channels).
   * @returns Shape (batch, height / 2, width / 2, channels).
   */
  forward(x: Tensor): Tensor {
    return this.#conv.forward(x);
  }
}

/**
 * Doubles the resolution: each pixel becomes four, then a 3×3 convolution.
 *
 * @see SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `Upsample`.
 */
export class Upsample extends Module {
  readonly #conv: Conv2d;

  /**
   * Makes the convolution.
   *
   * @param context Makes the parameters.
   * @param channels Channels in and out.
   */
  constructor(context: ModuleContext, channels: number) {
    super();
    this.#conv = this.register(
      "conv",
      new Conv2d(context, { inputs: channels, outputs: channels, kernel: 3, padding: 1 }),
    );
  }

  /**
   * Doubles the resolution.
   *
   * @param x Activations, shape (batch, height, width, channels).
   * @returns Shape (batch, 2 height, 2 width, channels).
   */
  forward(x: Tensor): Tensor {
    return x.tape.scope(() => this.#conv.forward(upsampleNearest2(x)));
  }
}

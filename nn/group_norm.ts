/** Group normalization, with an optional swish behind it in the same pass. @module */

import {
  channelMoments,
  groupStatistics,
  normalize,
  normalizeBackward,
} from "../kernels/group_norm.ts";
import { Module, type ModuleContext } from "./module.ts";
import { assertShape, dims, type Operand, type Parameter, type Tensor } from "./tensor.ts";

/** Factor and summand of each channel. */
export interface AffineOperands {
  /** Shape (channels). */
  weight: Operand;
  /** Shape (channels). */
  bias: Operand;
}

/** Options of {@linkcode groupNorm}. */
export interface GroupNormOptions {
  /** Groups that the channels are split into; divides them. */
  groups: number;
  /** Added to the variance, in the unit of x². Default 1e-6, as in the reference. */
  eps?: number;
  /** Whether to return `u sigmoid(u)` of the normalized u. Default false. */
  swish?: boolean;
}

/**
 * Normalizes each group of channels of each image to mean 0 and variance 1, then scales and shifts each channel.
 *
 * `u = (x - mean) / sqrt(variance + eps) * weight + bias`, variance biased, both over (height, width, channels / groups); with
 * `swish` the result is `u sigmoid(u)`, which saves a pass over the activations and the memory of u.
 *
 * @param x Activations, shape (batch, height, width, channels).
 * @param affine Factor and summand of each channel.
 * @param options Groups, eps, swish.
 * @returns Same shape and type as `x`.
 * @throws {TypeError} If x does not have four axes, or weight or bias not one value a channel.
 * @throws {RangeError} If the groups do not divide the channels.
 * @see Wu & He 2018, arXiv:1803.08494, eq. 1; SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `Normalize`.
 */
export function groupNorm(x: Tensor, affine: AffineOperands, options: GroupNormOptions): Tensor {
  const { batch, height, width, channels } = dims(x, "batch height width channels", "groupNorm()");
  const { groups, eps = 1e-6, swish = false } = options;
  const { weight, bias } = affine;
  assertGroups(channels, groups);
  assertShape(weight, [channels], "groupNorm() weight");
  assertShape(bias, [channels], "groupNorm() bias");
  const { tape } = x;
  const { gpu } = tape;
  const size = { batch, positions: height * width, channels, groups, eps };
  const y = tape.alloc(x.shape, x.dtype);
  const statistics = tape.alloc([batch, 2, channels]);
  const moments = tape.alloc([batch, 2, channels]);
  channelMoments(gpu, { x: x.storage, moments: moments.storage }, size);
  groupStatistics(gpu, { moments: moments.storage, statistics: statistics.storage }, size);
  tape.release(moments);
  normalize(
    gpu,
    {
      x: x.storage,
      statistics: statistics.storage,
      weight: weight.storage,
      bias: bias.storage,
      y: y.storage,
    },
    size,
    { swish },
  );
  return tape.record(swish ? "groupNormSwish" : "groupNorm", y, [x, weight, bias], (dy, needs) => {
    const dx = needs[0] ? tape.alloc(x.shape, x.dtype) : undefined;
    const wantsAffine = needs[1] || needs[2];
    const dweight = wantsAffine ? tape.alloc([channels]) : undefined;
    const dbias = wantsAffine ? tape.alloc([channels]) : undefined;
    normalizeBackward(
      gpu,
      {
        dy: dy.storage,
        x: x.storage,
        statistics: statistics.storage,
        weight: weight.storage,
        bias: bias.storage,
        dx: dx?.storage,
        affine: dweight && dbias && { dweight: dweight.storage, dbias: dbias.storage },
      },
      size,
      { swish },
    );
    return [dx, dweight, dbias];
  });
}

/** Sizes of a {@linkcode GroupNorm}. */
export interface GroupNormConfig {
  /** Channels of the input. */
  channels: number;
  /** Groups that they are split into. */
  groups: number;
  /** Added to the variance, default 1e-6. */
  eps?: number;
}

/** Group normalization with its trained `weight` (initially 1) and `bias` (initially 0). */
export class GroupNorm extends Module {
  /** Factor of each channel, shape (channels). */
  readonly weight: Parameter;
  /** Summand of each channel, shape (channels). */
  readonly bias: Parameter;
  readonly #config: GroupNormConfig;

  /**
   * Makes weight and bias.
   *
   * @param context Makes the parameters.
   * @param config Sizes.
   * @throws {RangeError} If the groups do not divide the channels.
   */
  constructor(context: ModuleContext, config: GroupNormConfig) {
    super();
    const { channels, groups } = config;
    assertGroups(channels, groups);
    this.#config = config;
    this.weight = this.register(
      "weight",
      context.parameter([channels], { kind: "constant", value: 1 }),
    );
    this.bias = this.register(
      "bias",
      context.parameter([channels], { kind: "constant", value: 0 }),
    );
  }

  /**
   * Normalizes; see {@linkcode groupNorm}.
   *
   * @param x Activations, shape (batch, height, width, channels).
   * @param options `swish`: whether swish follows in the same pass, default false.
   * @returns Same shape.
   */
  forward(x: Tensor, options: { swish?: boolean } = {}): Tensor {
    const { groups, eps = 1e-6 } = this.#config;
    return groupNorm(x, this, { groups, eps, ...options });
  }
}

/**
 * Checks that channels can be split into groups.
 *
 * @param channels Number of channels.
 * @param groups Number of groups.
 * @throws {RangeError} If the groups do not divide the channels.
 */
export function assertGroups(channels: number, groups: number): void {
  if (!(groups >= 1) || channels % groups !== 0) {
    throw new RangeError(
      `Cannot split ${channels} channels into groups: expected a divisor of ${channels}, found ${groups}`,
    );
  }
}

/** Batch normalization with running averages. @module */

import { runningStatistics, updateRunning } from "../kernels/batch_norm.ts";
import {
  channelMoments,
  type GroupNormSize,
  groupStatistics,
  normalize,
  normalizeBackward,
} from "../kernels/group_norm.ts";
import type { AffineOperands } from "./group_norm.ts";
import { type Initializer, Module, type ModuleContext } from "./module.ts";
import { assertShape, type Parameter, type Tensor } from "./tensor.ts";

/** Running averages of a batch normalization; forward updates them in place while training. */
export interface RunningAverages {
  /** Average of the batches' means, shape (channels). */
  mean: Parameter;
  /** Average of the batches' unbiased variances, shape (channels). */
  variance: Parameter;
  /** Batches averaged so far, one u32. */
  batchesTracked: Parameter;
}

/** Options of {@linkcode batchNorm}. */
export interface BatchNormOptions {
  /** The running averages. */
  running: RunningAverages;
  /** Whether to normalize by the batch's own statistics and update the averages; else to normalize by the averages. */
  training: boolean;
  /** Weight of the newest batch in the averages, default 0.1. */
  momentum?: number;
  /** Added to the variance, default 1e-5. */
  eps?: number;
}

/**
 * Normalizes each channel over the whole batch, then scales and shifts it.
 *
 * `y = (x - mean) / sqrt(variance + eps) * weight + bias`, variance biased. The running variance averages the unbiased one.
 *
 * @param x Activations, channels last, such as (batch, height, width, channels).
 * @param affine Factor and summand of each channel.
 * @param options Averages, mode, momentum, eps.
 * @returns Same shape and type as `x`.
 * @throws {TypeError} If x is a scalar, or an operand does not have one value a channel.
 * @throws {RangeError} If training on a single value a channel: it has no variance.
 * @see Ioffe & Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2.
 */
export function batchNorm(x: Tensor, affine: AffineOperands, options: BatchNormOptions): Tensor {
  const { running, training, momentum = 0.1, eps = 1e-5 } = options;
  const channels = x.shape.at(-1);
  if (channels === undefined) {
    throw new TypeError("Cannot run batchNorm(): expected at least one axis, found a scalar");
  }
  const { weight, bias } = affine;
  const { mean, variance } = running;
  for (const [name, operand] of Object.entries({ weight, bias, mean, variance })) {
    assertShape(operand, [channels], `batchNorm() ${name}`);
  }
  const { tape } = x;
  const { gpu } = tape;
  const count = x.size / channels;
  const size: GroupNormSize = { batch: 1, positions: count, channels, groups: channels, eps };
  const y = tape.alloc(x.shape, x.dtype);
  const statistics = tape.alloc([2, channels]);
  const averages = { runningMean: mean.storage, runningVariance: variance.storage };
  if (training) {
    if (count < 2) {
      throw new RangeError(
        "Cannot train batchNorm(): expected at least 2 values a channel, found 1",
      );
    }
    const moments = tape.alloc([2, channels]);
    channelMoments(gpu, { x: x.storage, moments: moments.storage }, size);
    groupStatistics(gpu, { moments: moments.storage, statistics: statistics.storage }, size);
    const batchesTracked = running.batchesTracked.storage;
    const buffers = { ...averages, moments: moments.storage, batchesTracked };
    updateRunning(gpu, buffers, { channels, count, momentum });
    tape.release(moments);
  } else {
    runningStatistics(gpu, { ...averages, statistics: statistics.storage }, { channels, eps });
  }
  const forward = {
    x: x.storage,
    statistics: statistics.storage,
    weight: weight.storage,
    bias: bias.storage,
  };
  normalize(gpu, { ...forward, y: y.storage }, size, { swish: false });
  return tape.record("batchNorm", y, [x, weight, bias], (dy, needs) => {
    const dx = needs[0] ? tape.alloc(x.shape, x.dtype) : undefined;
    const wantsAffine = needs[1] || needs[2];
    const dweight = wantsAffine ? tape.alloc([channels]) : undefined;
    const dbias = wantsAffine ? tape.alloc([channels]) : undefined;
    normalizeBackward(
      gpu,
      {
        ...forward,
        dy: dy.storage,
        dx: dx?.storage,
        affine: dweight && dbias && { dweight: dweight.storage, dbias: dbias.storage },
      },
      size,
      { swish: false, constantStatistics: !training },
    );
    return [dx, dweight, dbias];
  });
}

/** Sizes of a {@linkcode BatchNorm}. */
export interface BatchNormConfig {
  /** Channels of the input. */
  channels: number;
  /** Added to the variance, default 1e-5. */
  eps?: number;
  /** Weight of the newest batch in the averages, default 0.1. */
  momentum?: number;
  /** How `weight` is drawn, default 1. */
  weight?: Initializer;
}

/**
 * Batch normalization with trained `weight` and `bias`, and running averages under the reference's names `running_mean`,
 * `running_var` and `num_batches_tracked`.
 */
export class BatchNorm extends Module {
  /** Factor of each channel, shape (channels). */
  readonly weight: Parameter;
  /** Summand of each channel, shape (channels). */
  readonly bias: Parameter;
  /** The running averages; not trained. */
  readonly running: RunningAverages;
  readonly #config: BatchNormConfig;

  /**
   * Makes weight, bias and running averages.
   *
   * @param context Makes the parameters.
   * @param config Sizes.
   */
  constructor(context: ModuleContext, config: BatchNormConfig) {
    super();
    this.#config = config;
    const shape = [config.channels];
    const constant = (value: number): Initializer => ({ kind: "constant", value });
    const average = (value: number): Parameter =>
      context.parameter(shape, constant(value), { trainable: false });
    this.weight = this.register("weight", context.parameter(shape, config.weight ?? constant(1)));
    this.bias = this.register("bias", context.parameter(shape, constant(0)));
    this.running = {
      mean: this.register("running_mean", average(0)),
      variance: this.register("running_var", average(1)),
      batchesTracked: this.register(
        "num_batches_tracked",
        context.parameter([], constant(0), { dtype: "u32", trainable: false }),
      ),
    };
  }

  /**
   * Normalizes; see {@linkcode batchNorm}.
   *
   * @param x Activations, channels last.
   * @param options `training`: normalize by the batch and update the averages.
   * @returns Same shape.
   */
  forward(x: Tensor, options: { training: boolean }): Tensor {
    const { eps = 1e-5, momentum = 0.1 } = this.#config;
    return batchNorm(x, this, { running: this.running, eps, momentum, ...options });
  }
}

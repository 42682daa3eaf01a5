/** Launchers of optim.wgsl: Adam, averages, accumulation and exchange of parameters, in place. @module */

import type { Gpu } from "./gpu.ts";
import source from "./optim.wgsl" with { type: "text" };
import { reduce } from "./reduce.ts";
import { type Slice, subslice } from "./slice.ts";
import { defineSpanKernel, runSpans, type SpanOptions } from "./span.ts";

const kernel = defineSpanKernel("optim", source);
const UNUSED = Object.fromEntries([...kernel.scalar.fields.keys()].map((name) => [name, 0]));

function launch(gpu: Gpu, entryPoint: string, options: SpanOptions): void {
  runSpans(gpu, kernel, entryPoint, { ...options, params: { ...UNUSED, ...options.params } });
}

/** Options of {@linkcode adamStep}. */
export interface AdamStepOptions {
  /** Updated in place; one parameter, or neighbors in an arena. */
  parameter: Slice;
  /** As long as the parameter. */
  gradient: Slice;
  /** Multiplies the gradient. */
  gradientScale: number;
  /** Running mean of gradients, updated in place. */
  firstMoment: Slice;
  /** Running mean of squared gradients, updated in place. */
  secondMoment: Slice;
  /** Moving average of the parameter, updated in place; `oneMinusDecay` is the share that comes from the parameter. */
  average?: { slice: Slice; oneMinusDecay: number } | undefined;
  /** One element: norm of all scaled gradients. Nothing is updated unless it is finite. */
  norm: Slice;
  /** Largest norm; the gradient is multiplied by `min(1, maxNorm / (norm + 1e-6))`. Default: not clipped. */
  maxNorm?: number | undefined;
  /** Number of this step, from 1. */
  step: number;
  /** Learning rate. */
  learningRate: number;
  /** Decays of the two running means. */
  betas: readonly [number, number];
  /** Added to the root of the second moment. */
  eps: number;
  /** Weight decay. */
  weightDecay: number;
  /** Whether weight decay shrinks the parameter itself (AdamW) or adds to the gradient (Adam). */
  decoupled: boolean;
}

/**
 * One step of Adam or AdamW, and of the moving average where there is one.
 *
 * @param gpu The device.
 * @param options Slices and hyperparameters.
 */
export function adamStep(gpu: Gpu, options: AdamStepOptions): void {
  const { parameter, gradient, gradientScale, firstMoment, secondMoment, average } = options;
  const { norm, maxNorm, step, learningRate, betas, eps, weightDecay, decoupled } = options;
  launch(gpu, average ? "adam_averaged" : "adam", {
    buffers: {
      y: parameter,
      x: gradient,
      first_moment: firstMoment,
      second_moment: secondMoment,
      ...(average && { averages: average.slice }),
    },
    whole: { norm },
    params: {
      decoupled: decoupled ? 1 : 0,
      clip: maxNorm === undefined ? 0 : 1,
      max_norm: maxNorm ?? 0,
      beta2: betas[1],
      one_minus_beta1: 1 - betas[0],
      one_minus_beta2: 1 - betas[1],
      eps,
      step_size: learningRate / (1 - betas[0] ** step),
      root_correction: Math.sqrt(1 - betas[1] ** step),
      weight_decay: weightDecay,
      shrink: 1 - learningRate * weightDecay,
      gradient_scale: gradientScale,
      alpha: average?.oneMinusDecay ?? 0,
    },
  });
}

/**
 * Norm of all elements of several slices together: `factor sqrt(Σ x²)`.
 *
 * @param gpu The device.
 * @param slices At least one.
 * @param norm Receives the norm, one element.
 * @param factor Multiplies the norm, default 1.
 */
export function globalNorm(gpu: Gpu, slices: readonly Slice[], norm: Slice, factor = 1): void {
  const squares = gpu.acquire(4 * slices.length, "squared norms of gradients");
  for (const [i, a] of slices.entries()) {
    const y = subslice(squares, 4 * i, 4);
    reduce(gpu, "sum_squares", { a, y, outer: 1, length: a.bytes / 4, inner: 1 });
  }
  const total = gpu.acquire(4, "the squared norm of all gradients");
  reduce(gpu, "sum", { a: squares, y: total, outer: 1, length: slices.length, inner: 1 });
  launch(gpu, "root", { buffers: { y: norm, x: total }, params: { alpha: factor } });
  gpu.release(squares);
  gpu.release(total);
}

/**
 * The factor that clips gradients of a given norm: `min(1, maxNorm / (norm + 1e-6))`.
 *
 * @param gpu The device.
 * @param options `norm` and `factor`, one element each; `maxNorm`.
 */
export function clipFactor(
  gpu: Gpu,
  options: { norm: Slice; factor: Slice; maxNorm: number },
): void {
  const { norm, factor, maxNorm } = options;
  launch(gpu, "clip_factor", {
    buffers: { y: factor },
    whole: { norm },
    params: { max_norm: maxNorm },
  });
}

/**
 * `average -= (1 - decay) (average - x)`, in place.
 *
 * @param gpu The device.
 * @param options Equally long `average` and `x`; `oneMinusDecay`.
 */
export function averageStep(
  gpu: Gpu,
  options: { average: Slice; x: Slice; oneMinusDecay: number },
): void {
  const { average, x, oneMinusDecay } = options;
  launch(gpu, "average", { buffers: { y: average, x }, params: { alpha: oneMinusDecay } });
}

/**
 * `sum += factor x`, in place.
 *
 * @param gpu The device.
 * @param options Equally long `sum` and `x`; `factor`.
 */
export function accumulate(gpu: Gpu, options: { sum: Slice; x: Slice; factor: number }): void {
  const { sum, x, factor } = options;
  launch(gpu, "accumulate", { buffers: { y: sum, x }, params: { alpha: factor } });
}

/**
 * Exchanges the contents of two slices.
 *
 * @param gpu The device.
 * @param options Equally long `a` and `b`, of different buffers.
 */
export function exchange(gpu: Gpu, options: { a: Slice; b: Slice }): void {
  launch(gpu, "exchange", { buffers: { y: options.a, other: options.b } });
}

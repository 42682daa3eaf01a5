/** Launchers of random.wgsl: uniform and normal random numbers that depend only on their key and position. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import philox from "./philox.wgsl" with { type: "text" };
import source from "./random.wgsl" with { type: "text" };
import { type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("random", common, philox, source);

/** Key of a stream of random numbers. */
export interface PhiloxKey {
  /** Seed of the run. */
  seed: number;
  /** Training step. */
  step: number;
  /** Number of the consumer within the step. */
  stream: number;
}

function launch(
  gpu: Gpu,
  entryPoint: string,
  y: Slice,
  options: { key: PhiloxKey; offset: number; scale: number },
): void {
  const { key, offset, scale } = options;
  const count = y.bytes / 4;
  for (
    const range of splitRows(gpu, count, {
      rowBytes: [4],
      multiple: 4,
      operation: `random.${entryPoint}`,
    })
  ) {
    gpu.run(kernel, entryPoint, {
      buffers: { y: sliceRows(y, range, 4) },
      params: { count: range.count, first: range.start, ...key, offset, scale },
      threads: Math.ceil(range.count / 4),
    });
  }
}

/**
 * Fills with uniform random numbers in [low, high).
 *
 * @param gpu The device.
 * @param y What is filled.
 * @param options Key and interval.
 */
export function fillUniform(
  gpu: Gpu,
  y: Slice,
  options: { key: PhiloxKey; low: number; high: number },
): void {
  const { key, low, high } = options;
  launch(gpu, "uniform_values", y, { key, offset: low, scale: high - low });
}

/**
 * Fills with normal random numbers.
 *
 * @param gpu The device.
 * @param y What is filled.
 * @param options Key, mean and standard deviation.
 */
export function fillNormal(
  gpu: Gpu,
  y: Slice,
  options: { key: PhiloxKey; mean: number; standardDeviation: number },
): void {
  const { key, mean, standardDeviation } = options;
  launch(gpu, "normal_values", y, { key, offset: mean, scale: standardDeviation });
}

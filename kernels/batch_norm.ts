/** Launchers of batch_norm.wgsl: the running averages of batch normalization; the rest is kernels/group_norm.ts. @module */

import source from "./batch_norm.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import type { Slice } from "./slice.ts";

const kernel = defineKernel("batch_norm", common, source);

/**
 * Moves the running averages towards a batch, in place: `r = (1 - momentum) r + momentum value`.
 *
 * @param gpu The device.
 * @param buffers `moments` (2, channels) of the batch, the averages (channels) of mean and unbiased variance, and `batchesTracked`, one u32 that is counted up.
 * @param options `count`: elements of a channel in the batch, at least 2; `momentum`: weight of the batch.
 */
export function updateRunning(
  gpu: Gpu,
  buffers: Record<"runningMean" | "runningVariance" | "moments" | "batchesTracked", Slice>,
  options: { channels: number; count: number; momentum: number },
): void {
  const { channels } = options;
  gpu.run(kernel, "update", { buffers, params: { ...options, eps: 0 }, threads: channels });
}

/**
 * Statistics as group_norm.wgsl reads them, from the running averages.
 *
 * @param gpu The device.
 * @param buffers The averages; `statistics` (2, channels) is written.
 * @param options `eps` is added to the variance.
 */
export function runningStatistics(
  gpu: Gpu,
  buffers: Record<"runningMean" | "runningVariance" | "statistics", Slice>,
  options: { channels: number; eps: number },
): void {
  const params = { ...options, count: 0, momentum: 0 };
  gpu.run(kernel, "running_statistics", { buffers, params, threads: options.channels });
}

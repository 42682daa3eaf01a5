/**
 * GPU kernels: the device, its pool of buffers, and launchers that read slices of buffers and write others.
 *
 * Nothing here knows tensors or gradients. A kernel is a WGSL file and the launcher beside it; {@linkcode defineKernel} reads
 * bindings, parameters and entry points from the WGSL text, and {@linkcode Gpu.run} records a dispatch of it.
 *
 * @example Doubling eight numbers
 * ```ts ignore
 * import { affine, Gpu } from "@tessera/tessera/kernels";
 *
 * using gpu = await Gpu.open();
 * const x = gpu.acquire(32), y = gpu.acquire(32);
 * gpu.upload(x, new Float32Array([1, 2, 3, 4, 5, 6, 7, 8]));
 * affine(gpu, { a: x, y, alpha: 2 });
 * const [bytes] = await gpu.read([y]);
 * ```
 *
 * @module
 */

export * from "./errors.ts";
export * from "./gpu.ts";
export * from "./kernel.ts";
export type { PipelineDescription } from "./pipeline_cache.ts";
export { measurePeaks, type Peaks } from "./peaks.ts";
export * from "./pool.ts";
export type { DispatchTime, HostSpan, ProfileTimes } from "./profiler.ts";
export type { Dispatch, RecorderStats, Work } from "./recorder.ts";
export * from "./slice.ts";

export * from "./activation.ts";
export * from "./argmax.ts";
export * from "./attention.ts";
export * from "./batch_norm.ts";
export * from "./bias_gradient.ts";
export * from "./block_copy.ts";
export * from "./broadcast.ts";
export * from "./cast.ts";
export * from "./conv2d.ts";
export * from "./elementwise.ts";
export * from "./embedding.ts";
export * from "./finite.ts";
export {
  gemv,
  type GemvNorm,
  type GemvOptions,
  MOST_GEMV_ROWS,
  servesGemv,
  servesTexels,
} from "./gemv.ts";
export * from "./group_norm.ts";
export * from "./head_loss.ts";
export * from "./kv_cache.ts";
export { matmul, type MatmulOptions, type MatrixOperand } from "./matmul.ts";
export { texelsOf } from "./matmul_texels.ts";
export { type AdapterClass, adapterClass, tileCandidates, tileFor } from "./matmul_choice.ts";
export type { ProductShape, Tile } from "./matmul_tile.ts";
export * from "./optim.ts";
export * from "./pooling.ts";
export * from "./quantizer_backward.ts";
export * from "./quantizer_forward.ts";
export type { QuantizerOperands, TokenStatistics } from "./quantizer_logits.ts";
export type { LogitLanes, LogitPlan, QuantizerSize, RowShares, Shares } from "./quantizer_plan.ts";
export * from "./quantizer_terms.ts";
export * from "./random.ts";
export * from "./random_mask.ts";
export * from "./reduce.ts";
export * from "./resample.ts";
export * from "./rotary.ts";
export * from "./row_norm.ts";
export * from "./sampling.ts";
export * from "./softmax.ts";
export * from "./standardize.ts";
export * from "./swiglu.ts";
export { productClass, type ProductRequest, TileTable } from "./tile_table.ts";
export * from "./unit_length.ts";
export type { DispatchSize } from "./workgroups.ts";

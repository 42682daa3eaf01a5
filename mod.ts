/**
 * Tessera: a training engine on WGSL and WebGPU, and on it an image tokenizer with index backpropagation quantization and a
 * class-conditional transformer over its tokens.
 *
 * This entry point is what a program needs to build, train and run models on data of its own: it touches neither files nor the
 * console. Beside it are `@tessera/tessera/kernels` for whoever writes kernels, and `@tessera/tessera/train` for configurations,
 * image folders, checkpoints and run folders.
 *
 * @module
 */

export { GpuError, GpuMemoryError } from "./kernels/errors.ts";
export * from "./kernels/gpu.ts";
export type { PoolStats } from "./kernels/pool.ts";
export type { Slice } from "./kernels/slice.ts";
export type { Kernel, KernelBinding, KernelField } from "./kernels/kernel.ts";
export * from "./nn/mod.ts";
export * from "./models/mod.ts";
export * from "./train/schedule.ts";
export * from "./train/tokenizer_learner.ts";
export * from "./train/tokenizer_losses.ts";
export * from "./train/transformer_learner.ts";

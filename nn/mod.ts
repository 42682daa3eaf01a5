/**
 * Tensors, the tape that differentiates, and the layers of neural networks: one file an op, with the module that owns its
 * parameters below it.
 *
 * Activations are channels last, (batch, height, width, channels). Every buffer belongs to a {@linkcode Parameter} or to a
 * {@linkcode Tape}, which gives it back at the end of its scope.
 *
 * @example The gradient of a mean square
 * ```ts ignore
 * import { Gpu, mean, square, Tape } from "@tessera/tessera";
 *
 * using gpu = await Gpu.open();
 * using tape = new Tape(gpu);
 * const x = tape.input(new Float32Array([1, 2, 3]), [3]);
 * const gradient = tape.grad(mean(square(x)), [x]).get(x)!;
 * ```
 *
 * @module
 */

export * from "./accumulation.ts";
export * from "./activation.ts";
export * from "./argmax.ts";
export * from "./attention.ts";
export * from "./batch_norm.ts";
export * from "./broadcast.ts";
export * from "./code_usage.ts";
export * from "./cast.ts";
export * from "./conv2d.ts";
export * from "./dropout.ts";
export * from "./ema.ts";
export * from "./embedding.ts";
export * from "./gradient_norm.ts";
export * from "./group_norm.ts";
export * from "./head_loss.ts";
export * from "./kv_cache.ts";
export * from "./linear.ts";
export * from "./linear_fused.ts";
export * from "./loss_scale.ts";
export * from "./losses.ts";
export * from "./math.ts";
export * from "./matmul.ts";
export * from "./module.ts";
export * from "./optim.ts";
export * from "./pooling.ts";
export * from "./quantizer.ts";
export * from "./reduce.ts";
export * from "./resample.ts";
export * from "./rotary.ts";
export * from "./row_norm.ts";
export * from "./sampling.ts";
export * from "./sentinel.ts";
export * from "./shape.ts";
export * from "./softmax.ts";
export * from "./standardize.ts";
export * from "./swiglu.ts";
export * from "./tape.ts";
export * from "./tensor.ts";
export * from "./unit_length.ts";
export * from "./vector_quantizer.ts";

/**
 * Tessera: a training engine on WGSL and WebGPU, and on it an image tokenizer with index backpropagation quantization and a
 * class-conditional transformer over its tokens.
 *
 * This entry point is what a program needs to build, train and run models on data of its own: it touches neither files nor the
 * console. Beside it are `@tessera/tessera/kernels` for whoever writes kernels, and `@tessera/tessera/train` for configurations,
 * image folders, checkpoints and run folders.
 *
 * @example Training a tokenizer on random images
 * ```ts
 * import { Adam, add, Gpu, ModuleContext, mseLoss, Tape, Tokenizer } from "@tessera/tessera";
 *
 * using gpu = await Gpu.open();
 * const image = { resolution: 8, inChannels: 3, outCh: 3 }; // pixels are red, green, blue in [-1, 1]
 * const layers = { ch: 16, chMult: [1, 1], numResBlocks: 1, attnResolutions: [], numGroups: 4 };
 * using tokenizer = new Tokenizer(new ModuleContext(gpu, 1), {
 *   ddconfig: { ...image, ...layers, zChannels: 8, dropout: 0 },
 *   nEmbed: 64, // codes
 *   embedDim: 8, // numbers of a code
 *   codebookInitScale: 0.3, // their standard deviation at the start
 * });
 * using adam = new Adam(tokenizer.namedParameters(), { betas: [0.5, 0.9] });
 *
 * const shape = [4, 8, 8, 3];
 * const images = Float32Array.from({ length: 4 * 8 * 8 * 3 }, () => 2 * Math.random() - 1);
 * for (let step = 0; step < 40; step++) {
 *   using tape = new Tape(gpu, { seed: 1, step });
 *   const x = tape.input(images, shape);
 *   const { reconstruction, quantLoss } = tokenizer.forward(x, { training: true });
 *   const error = mseLoss(reconstruction, x);
 *   if (step % 10 === 0) console.log(`step ${step}: squared error ${await error.read()}`);
 *   const gradients = tape.grad(add(error, quantLoss), tokenizer.trainableParameters());
 *   adam.step(gradients, { learningRate: 2e-3 });
 * }
 *
 * using tape = new Tape(gpu, { record: false });
 * const tokens = tokenizer.tokenize(tape.input(images, shape)); // (4, 4, 4), numbers of codes
 * const pictures = await tokenizer.decodeIndices(tokens).read(); // (4, 8, 8, 3), pixels again
 * console.log((await tokens.readIndices()).join(" "), pictures.subarray(0, 3));
 * ```
 *
 * @module
 */

export * from "./kernels/errors.ts";
export * from "./kernels/gpu.ts";
export type * from "./kernels/kernel.ts";
export type * from "./kernels/pool.ts";
export type * from "./kernels/slice.ts";
export * from "./nn/mod.ts";
export * from "./models/mod.ts";
export * from "./train/schedule.ts";
export * from "./train/tokenizer_learner.ts";
export * from "./train/tokenizer_losses.ts";
export * from "./train/transformer_learner.ts";

/** Sampling of images as tokens: all on the GPU, many tokens a submit, read back once at the end. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { reshape } from "../nn/math.ts";
import { type FilterSettings, guideLogits, sampleTokens, seedWords } from "../nn/sampling.ts";
import { Tape } from "../nn/tape.ts";
import type { Tensor } from "../nn/tensor.ts";
import { TokenPredictor } from "./token_predictor.ts";
import type { Transformer } from "./transformer.ts";

/** Options of {@linkcode generateTokens}. */
export interface GenerateOptions extends FilterSettings {
  /** Class of each image. */
  classes: readonly number[];
  /** Seed of each image, as many as classes: with the settings it decides the image, whatever the batch. */
  seeds: readonly number[];
  /** Classifier-free guidance: above 1 it moves away from images without class. Default 1: none. */
  guidance?: number;
  /** Divides the logits. Default 1. */
  temperature?: number;
  /** Take the most probable token instead of drawing. Default false. */
  greedy?: boolean;
  /** Element type of the keys and values that are kept. Default f32. */
  cacheType?: "f32" | "f16";
  /** Called now and then with the number of tokens of each image that are done. */
  onProgress?: (tokens: number) => void;
}

/**
 * Bytes of weights that are read in one submit: some tenths of a second, so that a process can be ended between submits, and a
 * graphics driver does not take a long submit for a hang.
 */
const SUBMIT_BYTES = { software: 2 ** 30, gpu: 2 ** 34 };
/** The adapter works on one submit while the host records the next. */
const SUBMITS_IN_FLIGHT = 2;

/**
 * Draws the tokens of images, all at once, and reads them back.
 *
 * @param transformer The model.
 * @param options Classes, seeds and settings.
 * @returns (images, blockSize): tokens in raster order.
 * @throws {RangeError} If a class does not exist, or a setting is out of range.
 * @throws {TypeError} If there are not as many seeds as classes.
 */
export async function generateTokens(
  transformer: Transformer,
  options: GenerateOptions,
): Promise<Uint32Array> {
  using tape = new Tape(transformer.rotaryTable.gpu, { record: false });
  const tokens = await (await drawTokens(tape, transformer, options)).readIndices();
  options.onProgress?.(transformer.config.blockSize);
  return tokens;
}

/**
 * Draws the tokens of images, all at once. The last ones are submitted, but not waited for, so that what follows is recorded meanwhile.
 *
 * @param tape Owns the tokens; it must not record.
 * @param transformer The model.
 * @param options Classes, seeds and settings.
 * @returns (images, blockSize) u32: tokens in raster order.
 * @throws {RangeError} If a class does not exist, or a setting is out of range.
 * @throws {TypeError} If there are not as many seeds as classes, or the tape records.
 * @see SEED-Voken src/IBQ/modules/transformer/llama.py, `sample_IBQ`, which fails without guidance; this does not.
 */
export async function drawTokens(
  tape: Tape,
  transformer: Transformer,
  options: GenerateOptions,
): Promise<Tensor> {
  const { classes, seeds, guidance = 1, temperature = 1, cacheType = "f32" } = options;
  const { classNum, blockSize } = transformer.config;
  checkImages(options, classNum);
  const images = classes.length;
  const guided = guidance > 1;
  // A sequence with the class and one without lie side by side.
  const copies = guided ? 2 : 1;
  const sequences = classes.flatMap((label) => guided ? [label, classNum] : [label]);
  const tokens = tape.alloc([images, blockSize], "u32");
  const words = tape.input(seedWords(seeds), [images, 2]);
  using predictor = new TokenPredictor(
    transformer,
    tape.input(Uint32Array.from(sequences), [sequences.length]),
    { cacheType },
  );
  const submits = new Submits(tape.gpu, bytesOfWeights(transformer), options.onProgress);
  let last: Tensor | undefined;
  for (let position = 0; position < blockSize; position++) {
    const previous = last;
    last = tape.scope(() => {
      const logits = predictor.next(previous);
      const rows = reshape(logits, [images, copies, logits.shape[1]!]);
      const next = sampleTokens(
        guideLogits(rows, { guidance: guided ? guidance : 1, temperature }),
        { ...options, seeds: words, tokens, position, copies },
      );
      return reshape(next, [sequences.length]);
    });
    if (previous) tape.release(previous);
    if (position + 1 < blockSize) await submits.add(position + 1);
  }
  tape.gpu.flush();
  return tokens;
}

/** Submits recorded tokens, many at once, and keeps few submits in flight. */
class Submits {
  readonly #gpu: Gpu;
  readonly #tokensEach: number;
  readonly #onProgress: ((tokens: number) => void) | undefined;
  readonly #inFlight: Promise<void>[] = [];

  constructor(gpu: Gpu, tokenBytes: number, onProgress: ((tokens: number) => void) | undefined) {
    this.#gpu = gpu;
    const budget = SUBMIT_BYTES[gpu.adapter.software ? "software" : "gpu"];
    this.#tokensEach = Math.max(1, Math.floor(budget / tokenBytes));
    this.#onProgress = onProgress;
  }

  /** Counts a recorded token of each image. */
  async add(tokens: number): Promise<void> {
    if (tokens % this.#tokensEach !== 0) return;
    const done = this.#gpu.settle().then(() => this.#onProgress?.(tokens));
    // A failure is thrown by the wait for it or, at the end, by the read of the tokens.
    done.catch(() => {});
    this.#inFlight.push(done);
    if (this.#inFlight.length > SUBMITS_IN_FLIGHT) await this.#inFlight.shift();
  }
}

function bytesOfWeights(transformer: Transformer): number {
  let bytes = 0;
  for (const [, { storage }] of transformer.namedParameters()) bytes += storage.bytes;
  return bytes;
}

function checkImages(options: GenerateOptions, classNum: number): void {
  const { classes, seeds } = options;
  if (classes.length === 0 || seeds.length !== classes.length) {
    throw new TypeError(
      `Cannot sample images: expected a seed for each of ${classes.length} classes, found ${seeds.length}`,
    );
  }
  for (const label of classes) {
    if (!(Number.isInteger(label) && label >= 0 && label < classNum)) {
      throw new RangeError(
        `Cannot sample class ${label}: expected a class from 0 to ${classNum - 1}, found ${label}`,
      );
    }
  }
}

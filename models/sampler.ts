/** Sampling of images as tokens: all on the GPU, read back once at the end. @module */

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
  /** Called now and then with the number of tokens that are done. */
  onProgress?: (tokens: number) => void;
}

/** So many tokens are recorded before the host waits: rarely, because a wait takes longer than a small step. */
const TOKENS_BETWEEN_WAITS = 32;

/**
 * Draws the tokens of images, all at once.
 *
 * @param transformer The model.
 * @param options Classes, seeds and settings.
 * @returns (images, blockSize): tokens in raster order.
 * @throws {RangeError} If a class does not exist, or a setting is out of range.
 * @throws {TypeError} If there are not as many seeds as classes.
 * @see SEED-Voken src/IBQ/modules/transformer/llama.py, `sample_IBQ`, which fails without guidance; this does not.
 */
export async function generateTokens(
  transformer: Transformer,
  options: GenerateOptions,
): Promise<Uint32Array> {
  const { classes, seeds, guidance = 1, temperature = 1, onProgress } = options;
  const { classNum, blockSize } = transformer.config;
  checkImages(options, classNum);
  const { gpu } = transformer.rotaryTable;
  const images = classes.length;
  const guided = guidance > 1;
  // A sequence with the class and one without lie side by side.
  const copies = guided ? 2 : 1;
  const sequences = classes.flatMap((label) => guided ? [label, classNum] : [label]);
  using tape = new Tape(gpu, { record: false });
  const tokens = tape.alloc([images, blockSize], "u32");
  const words = tape.input(seedWords(seeds), [images, 2]);
  using predictor = new TokenPredictor(
    transformer,
    tape.input(Uint32Array.from(sequences), [sequences.length]),
  );
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
    if (position % TOKENS_BETWEEN_WAITS === TOKENS_BETWEEN_WAITS - 1) await gpu.settle();
    else gpu.flush();
    onProgress?.(position + 1);
  }
  return await tokens.readIndices();
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

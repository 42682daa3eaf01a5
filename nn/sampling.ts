/** Sampling of tokens from logits: guidance, temperature, top-k, top-p, and a draw that depends on the image's seed alone. @module */

import {
  drawTokens,
  filterLogits as runFilter,
  guideLogits as runGuide,
} from "../kernels/sampling.ts";
import { assertShape, dims, type Operand, type Tensor } from "./tensor.ts";

/** What of a distribution is kept before a token is drawn. */
export interface FilterSettings {
  /** Keep the `topK` greatest logits and what equals the least of them. Default 0: all. */
  topK?: number;
  /** Keep the most probable tokens up to the first that carries their probability past `topP`. Default 1: all. */
  topP?: number;
}

/** Options of {@linkcode guideLogits}. */
export interface GuideSettings {
  /** Weight of the conditional logits; above 1 it moves away from the logits without class. Default 1. */
  guidance?: number;
  /** Divides the logits. Default 1. */
  temperature?: number;
}

/**
 * Classifier-free guidance and temperature: `(without + (with - without) guidance) / temperature`. Not differentiable.
 *
 * @param logits (batch, copies, vocabulary): with the class and, if there are two copies, without.
 * @param options Guidance and temperature.
 * @returns (batch, vocabulary).
 * @throws {TypeError} If there are neither one nor two copies.
 * @throws {RangeError} If the temperature is not positive, or if guidance is asked of one copy.
 */
export function guideLogits(logits: Tensor, options: GuideSettings = {}): Tensor {
  const { batch, copies, vocabulary } = dims(logits, "batch copies vocabulary", "guideLogits()");
  const { guidance = 1, temperature = 1 } = options;
  if (copies !== 1 && copies !== 2) {
    throw new TypeError(`Cannot guide logits: expected 1 or 2 copies, found ${copies}`);
  }
  if (!(temperature > 0)) {
    throw new RangeError(
      `Cannot guide logits: expected a temperature above 0, found ${temperature}`,
    );
  }
  if (copies === 1 && guidance !== 1) {
    throw new RangeError(
      `Cannot guide logits: expected guidance 1 where there are no logits without class, found ${guidance}`,
    );
  }
  const guided = logits.tape.alloc([batch, vocabulary]);
  runGuide(logits.tape.gpu, {
    logits: logits.storage,
    guided: guided.storage,
    rows: batch,
    columns: vocabulary,
    copies,
    guidance,
    temperature,
  });
  return guided;
}

/**
 * Top-k, then top-p filtering (reference: src/IBQ/modules/transformer/llama.py, `top_k_top_p_filtering`). Not differentiable.
 *
 * @param logits (batch, vocabulary).
 * @param options What is kept; `lanes`: invocations that share a row, a power of two, default by adapter.
 * @returns Same shape: the logits that are kept, minus infinity elsewhere.
 * @throws {RangeError} If a setting is out of range.
 */
export function filterLogits(
  logits: Tensor,
  options: FilterSettings & { lanes?: number } = {},
): Tensor {
  const { batch, vocabulary } = dims(logits, "batch vocabulary", "filterLogits()");
  const filtered = logits.tape.alloc(logits.shape);
  runFilter(logits.tape.gpu, {
    scores: logits.storage,
    filtered: filtered.storage,
    rows: batch,
    columns: vocabulary,
    ...checkedFilter(options),
    ...(options.lanes === undefined ? {} : { lanes: options.lanes }),
  });
  return filtered;
}

/** Options of {@linkcode sampleTokens}. */
export interface SampleSettings extends FilterSettings {
  /** Take the most probable token, the first of equals, instead of drawing. Default false. */
  greedy?: boolean;
  /** (batch, 2) u32: low and high word of each image's seed. */
  seeds: Operand;
  /** (batch, steps) u32: receives the tokens in column `position`. */
  tokens: Operand;
  /** Number of the token within its image. */
  position: number;
  /** How often each token is repeated in the result. Default 1. */
  copies?: number;
  /** Invocations that share a row, a power of two; default by adapter. */
  lanes?: number;
}

/**
 * Draws one token an image. It depends on the logits, the image's seed and the position only, so not on the batch.
 *
 * @param logits (batch, vocabulary).
 * @param options Filter, seeds and where the tokens go.
 * @returns (batch, copies) u32: the tokens, which never visit the host.
 * @throws {TypeError} If a shape does not fit.
 * @throws {RangeError} If a setting is out of range.
 */
export function sampleTokens(logits: Tensor, options: SampleSettings): Tensor {
  const { batch, vocabulary } = dims(logits, "batch vocabulary", "sampleTokens()");
  const { greedy = false, seeds, tokens, position, copies = 1, lanes } = options;
  assertShape(seeds, [batch, 2], "sampleTokens() seeds");
  const { steps } = dims(tokens, "batch steps", "sampleTokens() tokens");
  assertShape(tokens, [batch, steps], "sampleTokens() tokens");
  if (!(position >= 0 && position < steps)) {
    throw new RangeError(
      `Cannot sample token ${position}: expected a position below ${steps}, found ${position}`,
    );
  }
  const next = logits.tape.alloc([batch, copies], "u32");
  drawTokens(logits.tape.gpu, {
    scores: logits.storage,
    seeds: seeds.storage,
    tokens: tokens.storage,
    next: next.storage,
    rows: batch,
    columns: vocabulary,
    copies,
    steps,
    position,
    ...(greedy ? { topK: 0, topP: 0 } : checkedFilter(options)),
    ...(lanes === undefined ? {} : { lanes }),
  });
  return next;
}

/**
 * Splits seeds into the words that the kernels read.
 *
 * @param seeds One seed an image: whole numbers in [0, 2^53).
 * @returns (seeds, 2): low and high word.
 * @throws {RangeError} If a seed is not such a number.
 */
export function seedWords(seeds: readonly number[]): Uint32Array {
  return Uint32Array.from(seeds.flatMap((seed) => {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(
        `Cannot sample with seed ${seed}: expected a whole number from 0 to 2^53 - 1, found ${seed}`,
      );
    }
    return [seed % 2 ** 32, Math.floor(seed / 2 ** 32)];
  }));
}

/**
 * Fills in and checks a filter.
 *
 * @param filter Top-k and top-p.
 * @returns Both, with their defaults.
 * @throws {RangeError} If `topK` is not a whole number from 0 on, or `topP` not in [0, 1].
 */
function checkedFilter(filter: FilterSettings): { topK: number; topP: number } {
  const { topK = 0, topP = 1 } = filter;
  if (!Number.isInteger(topK) || topK < 0) {
    throw new RangeError(
      `Cannot filter logits: expected top-k as a whole number from 0, found ${topK}`,
    );
  }
  if (!(topP >= 0 && topP <= 1)) {
    throw new RangeError(`Cannot filter logits: expected top-p from 0 to 1, found ${topP}`);
  }
  return { topK, topP };
}

/** Scaled dot-product attention over heads, full or causal, with fewer key heads than query heads and with caches. @module */

import {
  type AttentionSizes,
  multiplyHeads,
  softmaxScores,
  softmaxScoresBackward,
} from "../kernels/attention.ts";
import { dims, type Operand, type Tensor } from "./tensor.ts";

/** Options of {@linkcode attentionProbabilities}. */
export interface AttentionOptions {
  /** Whether query i sees the keys 0 … i + `diagonal` only. Default false. */
  causal?: boolean;
  /** With `causal`: keys before the one at the first query's own position. Default 0. */
  diagonal?: number;
  /** Factor of the products of queries and keys. Default 1 / sqrt(headDim). */
  scale?: number;
  /** How many of each image's keys and values are read, the first: a cache may have room for more. Default: all. */
  keys?: number;
  /** Invocations that share a row of scores, a power of two; default by adapter. */
  lanes?: number;
}

/**
 * `softmax(q·kᵀ·scale)` for each image and head.
 *
 * @param query (batch, queries, heads, headDim).
 * @param key (batch, tokens, kvHeads, headDim), where kvHeads divides heads: heads h · heads / kvHeads … share key head h.
 * @param options Mask, scale, number of keys.
 * @returns (batch, heads, queries, keys), 0 where a query does not see a key.
 * @throws {TypeError} If the shapes do not fit each other.
 * @throws {RangeError} If `keys` is not within the tokens.
 */
export function attentionProbabilities(
  query: Tensor,
  key: Operand,
  options: AttentionOptions = {},
): Tensor {
  const { batch, queries, heads, headDim } = dims(
    query,
    "batch queries heads headDim",
    "attention() query",
  );
  const sizes = sizesOf(key, { batch, queries, heads, headDim, keys: options.keys });
  const { causal = false, diagonal = 0, scale = 1 / Math.sqrt(headDim), lanes } = options;
  const mask = { causal, diagonal, ...(lanes === undefined ? {} : { lanes }) };
  const { tape } = query;
  const { gpu } = tape;
  const probabilities = tape.alloc([batch, heads, queries, sizes.keys]);
  multiplyHeads(gpu, "scores", {
    ...sizes,
    x: arrayOf(query),
    y: arrayOf(key),
    scores: probabilities.storage,
    alpha: scale,
  });
  softmaxScores(gpu, { ...sizes, ...mask, scores: probabilities.storage });
  return tape.record("attentionProbabilities", probabilities, [query, key], (dp, needs) => {
    const dscores = tape.alloc(dp.shape);
    softmaxScoresBackward(gpu, {
      ...sizes,
      ...mask,
      probabilities: probabilities.storage,
      gradients: dp.storage,
      dscores: dscores.storage,
    });
    const dquery = needs[0] ? tape.alloc(query.shape) : undefined;
    const dkey = needs[1] ? tape.alloc(key.shape) : undefined;
    const product = { ...sizes, scores: dscores.storage, alpha: scale };
    if (dquery) multiplyHeads(gpu, "rows", { ...product, x: arrayOf(dquery), y: arrayOf(key) });
    if (dkey) {
      if (sizes.keys < key.shape[1]!) gpu.clear(dkey.storage);
      multiplyHeads(gpu, "columns", { ...product, x: arrayOf(query), y: arrayOf(dkey) });
    }
    tape.release(dscores);
    return [dquery, dkey];
  });
}

/**
 * Mixes values by probabilities: `p·v` for each image and head.
 *
 * @param probabilities (batch, heads, queries, keys).
 * @param value (batch, tokens, kvHeads, headDim), at least `keys` tokens, of which the first are read.
 * @returns (batch, queries, heads, headDim).
 * @throws {TypeError} If the shapes do not fit each other.
 */
export function mixValues(probabilities: Tensor, value: Operand): Tensor {
  const { batch, heads, queries, keys } = dims(
    probabilities,
    "batch heads queries keys",
    "attention() probabilities",
  );
  const { headDim } = dims(value, "batch tokens kvHeads headDim", "attention() value");
  const sizes = sizesOf(value, { batch, queries, heads, headDim, keys });
  const { tape } = probabilities;
  const { gpu } = tape;
  const y = tape.alloc([batch, queries, heads, headDim]);
  multiplyHeads(gpu, "rows", {
    ...sizes,
    x: arrayOf(y),
    y: arrayOf(value),
    scores: probabilities.storage,
  });
  return tape.record("mixValues", y, [probabilities, value], (dy, needs) => {
    const dp = needs[0] ? tape.alloc(probabilities.shape) : undefined;
    const dvalue = needs[1] ? tape.alloc(value.shape) : undefined;
    if (dp) {
      const [x, y] = [arrayOf(dy), arrayOf(value)];
      multiplyHeads(gpu, "scores", { ...sizes, x, y, scores: dp.storage });
    }
    if (dvalue) {
      if (keys < value.shape[1]!) gpu.clear(dvalue.storage);
      const [x, y] = [arrayOf(dy), arrayOf(dvalue)];
      multiplyHeads(gpu, "columns", { ...sizes, x, y, scores: probabilities.storage });
    }
    return [dp, dvalue];
  });
}

/**
 * Attention: `softmax(q·kᵀ·scale)·v` for each image and head.
 *
 * @param query (batch, queries, heads, headDim).
 * @param key (batch, tokens, kvHeads, headDim).
 * @param value Same shape as `key`.
 * @param options Mask, scale, number of keys; `transform` is applied to the probabilities (dropout in training).
 * @returns (batch, queries, heads, headDim).
 * @throws {TypeError} If the shapes do not fit each other.
 * @throws {RangeError} If `keys` is not within the tokens.
 */
export function attention(
  query: Tensor,
  key: Operand,
  value: Operand,
  options: AttentionOptions & { transform?: (probabilities: Tensor) => Tensor } = {},
): Tensor {
  const { transform = (probabilities: Tensor): Tensor => probabilities } = options;
  return mixValues(transform(attentionProbabilities(query, key, options)), value);
}

function arrayOf(x: Operand): { slice: Operand["storage"]; tokens: number } {
  return { slice: x.storage, tokens: x.shape[1]! };
}

/** Checks keys or values against the queries. */
function sizesOf(
  key: Operand,
  of: Omit<AttentionSizes, "kvHeads" | "keys"> & { keys: number | undefined },
): AttentionSizes {
  const { batch, tokens, kvHeads, headDim } = dims(
    key,
    "batch tokens kvHeads headDim",
    "attention() key",
  );
  if (batch !== of.batch || headDim !== of.headDim || of.heads % kvHeads !== 0) {
    throw new TypeError(
      `Cannot run attention(): expected keys and values of shape [${of.batch}, tokens, a divisor of ${of.heads}, ${of.headDim}], found [${key.shape}]`,
    );
  }
  const { keys = tokens } = of;
  if (keys > tokens || keys < 1) {
    throw new RangeError(
      `Cannot run attention(): expected from 1 to ${tokens} keys, found ${keys}`,
    );
  }
  return { ...of, keys, kvHeads };
}

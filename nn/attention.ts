/** Scaled dot-product attention over heads, full or causal, with fewer key heads than query heads and with caches. @module */

import {
  attentionBackward,
  attentionForward,
  type AttentionPlan,
  type AttentionSizes,
  type HeadsArray,
} from "../kernels/attention.ts";
import { assertShape, dims, type Operand, type Tensor } from "./tensor.ts";

/** Options of {@linkcode attention}. */
export interface AttentionOptions {
  /** Whether query i sees the keys 0 … i + `diagonal` only. Default false. */
  causal?: boolean;
  /** With `causal`: keys before the one at the first query's own position. Default 0. */
  diagonal?: number;
  /** Factor of the products of queries and keys. Default 1 / sqrt(headDim). */
  scale?: number;
  /** How many of each image's keys and values are read, the first: a cache may have room for more. Default: all. */
  keys?: number;
  /** Probability with which a probability becomes 0; the others are divided by 1 minus it. Default 0. */
  dropout?: number;
  /** How it runs, by default as suits the adapter. */
  plan?: AttentionPlan;
}

/**
 * Attention: `softmax(q·kᵀ·scale)·v` for each image and head.
 *
 * Neither pass stores an array of queries by keys of all heads: forward keeps the logarithm of each row's sum of exponentials, backward
 * computes the scores again, and what dropout decided.
 *
 * @param query (batch, queries, heads, headDim).
 * @param key (batch, tokens, kvHeads, headDim), where kvHeads divides heads: heads h · heads / kvHeads … share key head h.
 * @param value Same shape as `key`.
 * @param options Mask, scale, number of keys, dropout in training.
 * @returns (batch, queries, heads, headDim), in the type of `query`.
 * @throws {TypeError} If the shapes do not fit each other.
 * @throws {RangeError} If `keys` is not within the tokens, or `dropout` not in [0, 1].
 * @see Dao et al. 2022, arXiv:2205.14135.
 */
export function attention(
  query: Tensor,
  key: Operand,
  value: Operand,
  options: AttentionOptions = {},
): Tensor {
  const { batch, queries, heads, headDim } = dims(
    query,
    "batch queries heads headDim",
    "attention() query",
  );
  const of = { batch, queries, heads, headDim, keys: options.keys };
  const sizes = sizesOf(key, of);
  assertShape(value, key.shape, "attention() value");
  const { causal = false, diagonal = 0, scale = 1 / Math.sqrt(headDim) } = options;
  const { dropout: probability = 0, plan = {} } = options;
  if (!(probability >= 0 && probability <= 1)) {
    throw new RangeError(
      `Cannot run attention(): expected a probability in [0, 1], found ${probability}`,
    );
  }
  const { tape } = query;
  const { gpu } = tape;
  const dropout = probability > 0 ? { probability, key: tape.nextRandomKey() } : undefined;
  const settings = { ...sizes, ...plan, causal, diagonal, scale, dropout };
  const y = tape.alloc(query.shape, query.dtype);
  const logSums = tape.alloc([batch, heads, queries]);
  const buffers = {
    query: arrayOf(query),
    key: arrayOf(key),
    value: arrayOf(value),
    y: arrayOf(y),
    logSums: logSums.storage,
  };
  attentionForward(gpu, buffers, settings);
  if (!tape.recording) tape.release(logSums);
  return tape.record("attention", y, [query, key, value], (dy) => {
    const dquery = tape.alloc(query.shape, query.dtype);
    const dkey = tape.alloc(key.shape, key.dtype);
    const dvalue = tape.alloc(value.shape, value.dtype);
    attentionBackward(gpu, {
      ...buffers,
      dy: arrayOf(dy),
      dquery: arrayOf(dquery),
      dkey: arrayOf(dkey),
      dvalue: arrayOf(dvalue),
    }, settings);
    return [dquery, dkey, dvalue];
  });
}

function arrayOf(x: Operand): HeadsArray {
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

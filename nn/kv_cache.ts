/** Keys and values of earlier tokens, so that a transformer can go on one token at a time. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { splitFusedHeads } from "../kernels/rotary.ts";
import { viewOf } from "./rotary.ts";
import { dims, type Operand, Parameter, type Tensor } from "./tensor.ts";

/** Sizes of a {@linkcode KvCache}. */
export interface KvCacheOptions {
  /** Sequences that go on together. */
  batch: number;
  /** Room for tokens in each. */
  tokens: number;
  /** Key and value heads. */
  kvHeads: number;
  /** Elements a head. */
  headDim: number;
}

/** Keys and values of one attention layer. It owns its buffers until it is disposed. */
export class KvCache implements Disposable {
  /** (batch, tokens, kvHeads, headDim): turned keys; what has not been appended is undefined. */
  readonly key: Parameter;
  /** (batch, tokens, kvHeads, headDim): values. */
  readonly value: Parameter;

  /**
   * Makes an empty cache.
   *
   * @param gpu The device.
   * @param options Sizes.
   */
  constructor(gpu: Gpu, options: KvCacheOptions) {
    const { batch, tokens, kvHeads, headDim } = options;
    const shape = [batch, tokens, kvHeads, headDim];
    const settings = { trainable: false, purpose: "a cache of keys and values" };
    this.key = new Parameter(gpu, shape, settings);
    this.value = new Parameter(gpu, shape, settings);
  }

  /** Gives the buffers back. */
  [Symbol.dispose](): void {
    this.key[Symbol.dispose]();
    this.value[Symbol.dispose]();
  }
}

/** Options of {@linkcode appendHeads}. */
export interface AppendHeadsOptions {
  /** Query heads. */
  heads: number;
  /** Where keys and values go. */
  cache: KvCache;
  /** Position of the first token: in the table, and in the cache. */
  firstPosition: number;
}

/**
 * Like `splitHeads`, but keys and values go into a cache. Not differentiable.
 *
 * @param qkv (batch, tokens, (heads + 2 kvHeads) · headDim).
 * @param table (positions, headDim / 2, 2): cosine and sine.
 * @param options Heads, cache and position.
 * @returns Turned queries (batch, tokens, heads, headDim).
 * @throws {TypeError} If the tape records, or a shape does not fit.
 * @throws {RangeError} If the cache or the table has no room for the tokens.
 */
export function appendHeads(qkv: Tensor, table: Operand, options: AppendHeadsOptions): Tensor {
  const { tape } = qkv;
  if (tape.recording) {
    throw new TypeError("Cannot append to a cache: expected a tape that does not record");
  }
  const { heads, cache, firstPosition } = options;
  const { batch, tokens, columns } = dims(qkv, "batch tokens columns", "appendHeads()");
  const [rows, room, kvHeads, headDim] = cache.key.shape as [number, number, number, number];
  if (rows !== batch || columns !== (heads + 2 * kvHeads) * headDim) {
    throw new TypeError(
      `Cannot append to a cache: expected shape [${rows}, tokens, ${
        (heads + 2 * kvHeads) * headDim
      }], found [${qkv.shape}]`,
    );
  }
  const end = firstPosition + tokens;
  if (end > room || end > table.shape[0]!) {
    throw new RangeError(
      `Cannot append to a cache: expected at most ${
        Math.min(room, table.shape[0]!)
      } tokens, found ${end}`,
    );
  }
  const query = tape.alloc([batch, tokens, heads, headDim], qkv.dtype);
  splitFusedHeads(tape.gpu, {
    batch,
    tokens,
    headDim,
    heads,
    kvHeads,
    rows: qkv.storage,
    parts: [
      viewOf(query),
      viewOf(cache.key, firstPosition),
      viewOf(cache.value, firstPosition),
    ],
    rotation: { table: table.storage, firstPosition, direction: 1 },
  });
  return query;
}

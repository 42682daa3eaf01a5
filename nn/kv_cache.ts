/** Keys and values of earlier tokens, so that a transformer can go on one token at a time. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { attendWithCache } from "../kernels/kv_cache.ts";
import {
  assertShape,
  type DataType,
  dims,
  type Operand,
  Parameter,
  type Tensor,
} from "./tensor.ts";

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
  /** Element type. Default f32; f16 needs half the memory and rounds keys and values to 11 bits. */
  dtype?: Exclude<DataType, "u32">;
}

/** Keys and values of one attention layer. It owns its buffers until it is disposed. */
export class KvCache implements Disposable {
  /** (batch, kvHeads, tokens, headDim): turned keys; what has not been appended is undefined. */
  readonly key: Parameter;
  /** (batch, kvHeads, tokens, headDim): values. */
  readonly value: Parameter;

  /**
   * Makes an empty cache.
   *
   * @param gpu The device.
   * @param options Sizes and element type.
   */
  constructor(gpu: Gpu, options: KvCacheOptions) {
    const { batch, tokens, kvHeads, headDim, dtype = "f32" } = options;
    const shape = [batch, kvHeads, tokens, headDim];
    const settings = { dtype, trainable: false, purpose: "a cache of keys and values" };
    this.key = new Parameter(gpu, shape, settings);
    this.value = new Parameter(gpu, shape, settings);
  }

  /** Gives the buffers back. */
  [Symbol.dispose](): void {
    this.key[Symbol.dispose]();
    this.value[Symbol.dispose]();
  }
}

/** Options of {@linkcode cachedAttention}. */
export interface CachedAttentionOptions {
  /** (positions, headDim / 2, 2): cosine and sine of the rotary embedding. */
  table: Operand;
  /** Query heads. */
  heads: number;
  /** Where key and value go, and the earlier ones are. */
  cache: KvCache;
  /** Position of the new token: in the table, and in the cache. */
  position: number;
  /** Who walks over the tokens, see the kernel; default by adapter. */
  form?: "lane" | "workgroup";
}

/**
 * Appends one token an image to a cache and lets it attend to all tokens up to itself. Not differentiable.
 *
 * @param qkv (batch, 1, (heads + 2 kvHeads) · headDim), f32: [query | key | value], not yet turned.
 * @param options Table, heads, cache and position.
 * @returns (batch, 1, heads · headDim), f32.
 * @throws {TypeError} If the tape records, or a shape or type does not fit.
 * @throws {RangeError} If the cache or the table has no room for the token.
 */
export function cachedAttention(qkv: Tensor, options: CachedAttentionOptions): Tensor {
  const { tape } = qkv;
  if (tape.recording) {
    throw new TypeError("Cannot append to a cache: expected a tape that does not record");
  }
  const { table, heads, cache, position, form } = options;
  const { positions, pairs } = dims(table, "positions pairs parts", "cachedAttention() table");
  const [batch, kvHeads, room, headDim] = cache.key.shape as [number, number, number, number];
  assertShape(qkv, [batch, 1, (heads + 2 * kvHeads) * headDim], "cachedAttention() qkv");
  assertShape(table, [positions, headDim / 2, 2], "cachedAttention() table");
  if (qkv.dtype !== "f32" || heads % kvHeads !== 0 || pairs % 2 !== 0) {
    throw new TypeError(
      `Cannot append to a cache: expected f32 and heads of a multiple of 4 elements, as many as divide evenly among ${kvHeads}, found ${qkv.dtype} and ${heads} heads of ${headDim}`,
    );
  }
  if (position >= room || position >= positions) {
    throw new RangeError(
      `Cannot append to a cache: expected at most ${Math.min(room, positions)} tokens, found ${
        position + 1
      }`,
    );
  }
  const mixed = tape.alloc([batch, 1, heads * headDim]);
  attendWithCache(tape.gpu, {
    batch,
    heads,
    kvHeads,
    headDim,
    room,
    position,
    qkv: qkv.storage,
    table: table.storage,
    key: cache.key.storage,
    value: cache.value.storage,
    mixed: mixed.storage,
    form,
  });
  return mixed;
}

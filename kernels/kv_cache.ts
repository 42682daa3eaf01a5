/** Launchers of kv_cache.wgsl: attention of one new token an image to the keys and values of the earlier ones. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import source from "./kv_cache.wgsl" with { type: "text" };
import { requireIterations } from "./loop_limit.ts";
import { elementBytes, type RowRange, type Slice, sliceRows, splitRows } from "./slice.ts";
import { softmaxForward } from "./softmax.ts";

const kernel = defineKernel("kv_cache", common, source);

/** Sizes of a cache and of the heads that look into it. */
export interface CacheSizes {
  /** Images. */
  batch: number;
  /** Query heads. */
  heads: number;
  /** Key and value heads; divides `heads`. */
  kvHeads: number;
  /** Elements a head; a multiple of 4. */
  headDim: number;
  /** Tokens that an image's cache has room for. */
  room: number;
  /** Number of the new token within its image. */
  position: number;
}

/** Operands of {@linkcode appendToCache}. */
export interface AppendOptions extends CacheSizes {
  /** (batch, (heads + 2 kvHeads) headDim), f32: [query | key | value] of the new token. */
  qkv: Slice;
  /** (positions, headDim / 2, [cosine, sine]), f32. */
  table: Slice;
  /** (batch, heads, headDim), f32: the turned query. */
  query: Slice;
  /** (batch, room, kvHeads, headDim), f32 or f16: receives the turned key. */
  key: Slice;
  /** Like `key`: receives the value. */
  value: Slice;
}

/**
 * Turns the new token's query and key by their position, and puts key and value into the cache.
 *
 * @param gpu The device.
 * @param options Operands and sizes.
 */
export function appendToCache(gpu: Gpu, options: AppendOptions): void {
  const { qkv, table, query, key, value, heads, kvHeads, headDim } = options;
  const rowBytes = 4 * (heads + 2 * kvHeads) * headDim;
  forImages(
    gpu,
    options,
    { rowBytes: [rowBytes], operation: "append" },
    (range, cached) =>
      gpu.run(kernel, "append", {
        buffers: {
          qkv: sliceRows(qkv, range, rowBytes),
          table,
          query: sliceRows(query, range, 4 * heads * headDim),
          key: cached(key),
          value: cached(value),
        },
        params: paramsOf(options, range),
        threads: range.count * (heads + 2 * kvHeads) * headDim / 4,
      }),
  );
}

/** Operands of {@linkcode attendToCache}. */
export interface CachedAttentionOptions extends CacheSizes {
  /** (batch, heads, headDim), f32. */
  query: Slice;
  /** (batch, room, kvHeads, headDim), f32 or f16. */
  key: Slice;
  /** Like `key`. */
  value: Slice;
  /** (batch, heads, headDim), f32: result. */
  mixed: Slice;
}

/**
 * `softmax(query·keyᵀ / sqrt(headDim))·value` over the tokens up to the new one, for each image and head.
 *
 * @param gpu The device.
 * @param options Operands and sizes.
 * @throws {RangeError} If there are more tokens than a software adapter can loop over.
 */
export function attendToCache(gpu: Gpu, options: CachedAttentionOptions): void {
  const { batch, heads, headDim, position, query, key, value, mixed } = options;
  const keys = position + 1;
  requireIterations(gpu, "kv_cache.mix_values", keys);
  const bytes = { query: 4 * heads * headDim, scores: 4 * heads * keys };
  const scores = gpu.acquire(batch * bytes.scores, "scores of attention");
  const rowBytes = Object.values(bytes);
  forImages(
    gpu,
    options,
    { rowBytes, operation: "score" },
    (range, cached) =>
      gpu.run(kernel, "score", {
        buffers: {
          queries: sliceRows(query, range, bytes.query),
          keys: cached(key),
          scores: sliceRows(scores, range, bytes.scores),
        },
        params: paramsOf(options, range),
        threads: range.count * heads * keys,
      }),
  );
  const probabilities = gpu.acquire(batch * bytes.scores, "probabilities of attention");
  const shape = { rows: batch * heads, columns: keys };
  softmaxForward(gpu, shape, { x: scores, y: probabilities, logarithm: false });
  gpu.release(scores);
  forImages(
    gpu,
    options,
    { rowBytes, operation: "mix_values" },
    (range, cached) =>
      gpu.run(kernel, "mix_values", {
        buffers: {
          probabilities: sliceRows(probabilities, range, bytes.scores),
          values: cached(value),
          mixed: sliceRows(mixed, range, bytes.query),
        },
        params: paramsOf(options, range),
        threads: range.count * heads * headDim / 4,
      }),
  );
  gpu.release(probabilities);
}

/** Runs over images whose parts of all operands can be bound. */
function forImages(
  gpu: Gpu,
  options: CacheSizes & { key: Slice },
  split: { rowBytes: readonly number[]; operation: string },
  launch: (range: RowRange, cached: (slice: Slice) => Slice) => void,
): void {
  const { batch, room, kvHeads, headDim, key } = options;
  const cacheBytes = elementBytes(key) * room * kvHeads * headDim;
  const ranges = splitRows(gpu, batch, {
    rowBytes: [...split.rowBytes, 4 * options.heads * headDim, cacheBytes],
    operation: `kv_cache.${split.operation}`,
  });
  for (const range of ranges) launch(range, (slice) => sliceRows(slice, range, cacheBytes));
}

function paramsOf(options: CacheSizes, range: RowRange): Record<string, number> {
  const { heads, kvHeads, headDim, room, position } = options;
  return {
    images: range.count,
    heads,
    kv_heads: kvHeads,
    packs: headDim / 4,
    room,
    position,
    keys: position + 1,
    scale: 1 / Math.sqrt(headDim),
  };
}

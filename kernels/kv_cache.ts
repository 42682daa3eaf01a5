/** The launcher of kv_cache.wgsl: attention of one new token an image to the keys and values of the earlier ones. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import source from "./kv_cache.wgsl" with { type: "text" };
import { cacheLanesIterations, cacheLanesKernel } from "./kv_cache_lanes.ts";
import { requireIterations } from "./loop_limit.ts";
import shared from "./kv_cache_shared.wgsl" with { type: "text" };
import lanes from "./lanes.wgsl" with { type: "text" };
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("kv_cache", common, special, lanes, shared, source);

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

/** Operands of {@linkcode attendWithCache}. */
export interface CachedAttentionOptions extends CacheSizes {
  /** (batch, (heads + 2 kvHeads) headDim), f32: [query | key | value] of the new token. */
  qkv: Slice;
  /** (positions, headDim / 2, [cosine, sine]), f32. */
  table: Slice;
  /** (batch, kvHeads, room, headDim), f32 or f16: receives the turned key. */
  key: Slice;
  /** Like `key`: receives the value. */
  value: Slice;
  /** (batch, heads, headDim), f32: result. */
  mixed: Slice;
  /**
   * Who walks over the tokens: a lane for each image and head, or the lanes of a workgroup together, which wait for each other. Default:
   * `lane` on a software adapter, unless heads are long; else `workgroup`.
   */
  form?: "lane" | "workgroup" | undefined;
}

/** Longer heads would make long texts, and do not stay in registers. */
const MOST_LANE_PACKS = 32;

/** Loops of an invocation besides those over keys, for each query head. */
const OTHER_LOOPS = 64;

/**
 * Turns the new token's query and key by their position, puts key and value into the cache, and computes
 * `softmax(query·keyᵀ / sqrt(headDim))·value` over the tokens up to the new one, for each image and head.
 *
 * @param gpu The device.
 * @param options Operands and sizes.
 * @throws {RangeError} If there are more tokens than a software adapter can loop over.
 */
export function attendWithCache(gpu: Gpu, options: CachedAttentionOptions): void {
  const { qkv, table, key, value, mixed, ...sizes } = options;
  const { batch, heads, kvHeads, headDim, room, position } = sizes;
  const { threads } = gpu;
  const packs = headDim / 4;
  const lane = (options.form ??
    (gpu.adapter.software && packs <= MOST_LANE_PACKS ? "lane" : "workgroup")) === "lane";
  const headIterations = (position + 1) * Math.ceil(packs / threads) +
    Math.ceil((position + 1) / threads) * (packs + 2) + OTHER_LOOPS;
  const iterations = lane ? cacheLanesIterations(position) : heads / kvHeads * headIterations;
  requireIterations(gpu, "kv_cache.attend", iterations);
  const bytes = {
    qkv: 4 * (heads + 2 * kvHeads) * headDim,
    cached: elementBytes(key) * room * kvHeads * headDim,
    mixed: 4 * heads * headDim,
  };
  const ranges = splitRows(gpu, batch, {
    rowBytes: Object.values(bytes),
    operation: "kv_cache.attend",
  });
  for (const range of ranges) {
    const buffers = {
      qkv: sliceRows(qkv, range, bytes.qkv),
      table,
      key: sliceRows(key, range, bytes.cached),
      value: sliceRows(value, range, bytes.cached),
      mixed: sliceRows(mixed, range, bytes.mixed),
    };
    const params = {
      heads,
      "kv_heads": kvHeads,
      room,
      position,
      images: range.count,
      scale: 1 / Math.sqrt(headDim),
    };
    const constants = { PACKS: packs, THREADS: threads };
    if (lane) {
      const workgroups = [Math.ceil(range.count * heads / threads)] as const;
      gpu.run(cacheLanesKernel(packs), "attend", { buffers, params, constants, workgroups });
    } else {
      gpu.run(kernel, "attend", {
        buffers,
        params,
        constants: { ...constants, LANES: threads },
        workgroups: [kvHeads, range.count],
      });
    }
  }
}

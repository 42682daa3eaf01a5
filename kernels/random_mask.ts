/** Launchers of random_mask.wgsl: dropping elements or samples, and replacing labels, at random. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import philox from "./philox.wgsl" with { type: "text" };
import type { PhiloxKey } from "./random.ts";
import source from "./random_mask.wgsl" with { type: "text" };
import { elementBytes, elementCount, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("random_mask", common, philox, source);

function launch(
  gpu: Gpu,
  entryPoint: string,
  key: PhiloxKey,
  options: { buffers: Record<string, Slice>; params: Record<string, number>; perThread: number },
): void {
  const { buffers, params, perThread } = options;
  const [first] = Object.values(buffers);
  const count = elementCount(first!);
  const bytes = elementBytes(first!);
  const operation = `random_mask.${entryPoint}`;
  for (const range of splitRows(gpu, count, { rowBytes: [bytes], multiple: 4, operation })) {
    const parts: Record<string, Slice> = {};
    for (const name in buffers) parts[name] = sliceRows(buffers[name]!, range, bytes);
    gpu.run(kernel, entryPoint, {
      buffers: parts,
      params: {
        factor: 1,
        sample_size: 1,
        value: 0,
        below: 0,
        ...params,
        ...key,
        count: range.count,
        first: range.start,
      },
      threads: Math.ceil(range.count / perThread),
    });
  }
}

/** Options of {@linkcode dropAtRandom}. */
export interface DropOptions {
  /** Input. */
  x: Slice;
  /** Output, as long as `x`. */
  y: Slice;
  /** Key of the decisions. */
  key: PhiloxKey;
  /** Share that becomes 0, in [0, 1]. What is kept is divided by 1 minus it. */
  probability: number;
  /** Elements that share a decision, default 1. */
  sampleSize?: number;
}

/**
 * Sets elements, or runs of elements, to 0 at random and scales the others so that the expectation stays.
 *
 * @param gpu The device.
 * @param options Slices, key and probability.
 */
export function dropAtRandom(gpu: Gpu, options: DropOptions): void {
  const { x, y, key, probability, sampleSize } = options;
  const factor = probability < 1 ? 1 / (1 - probability) : 0;
  launch(gpu, sampleSize === undefined ? "drop_elements" : "drop_samples", key, {
    buffers: { x, y },
    params: { probability, factor, sample_size: sampleSize ?? 1 },
    perThread: sampleSize === undefined ? 4 : 1,
  });
}

/** Options of {@linkcode replaceAtRandom}. */
export interface ReplaceOptions {
  /** Input, u32. */
  labels: Slice;
  /** Output, u32, as long as `labels`. */
  replaced: Slice;
  /** Key of the decisions. */
  key: PhiloxKey;
  /** Share that is replaced, in [0, 1]. */
  probability: number;
  /** The replacement; used if `below` is 0. */
  value: number;
  /** If not 0, replacements are uniform integers in [0, below). */
  below: number;
}

/**
 * Replaces integers at random.
 *
 * @param gpu The device.
 * @param options Slices, key, probability and replacement.
 */
export function replaceAtRandom(gpu: Gpu, options: ReplaceOptions): void {
  const { labels, replaced, key, ...params } = options;
  launch(gpu, "replace", key, { buffers: { labels, replaced }, params, perThread: 4 });
}

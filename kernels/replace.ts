/** Launcher of replace.wgsl: replaces indices at random. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import philox from "./philox.wgsl" with { type: "text" };
import type { PhiloxKey } from "./random.ts";
import source from "./replace.wgsl" with { type: "text" };
import { type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("replace", common, philox, source);

/** Options of {@linkcode replaceIndices}. */
export interface ReplaceIndicesOptions {
  /** Indices. */
  x: Slice;
  /** Result. */
  y: Slice;
  /** Where the random numbers come from. */
  key: PhiloxKey;
  /** Probability that an index is replaced. */
  rate: number;
  /** Least replacement. */
  low: number;
  /** Number of replacements, from `low` on, all equally probable. */
  range: number;
}

/**
 * Replaces each index, with probability `rate`, by a random one in [low, low + range).
 *
 * @param gpu The device.
 * @param options Indices, probability and replacements.
 */
export function replaceIndices(gpu: Gpu, options: ReplaceIndicesOptions): void {
  const { x, y, key, rate, low, range } = options;
  const operation = "replace.replace";
  for (const part of splitRows(gpu, y.bytes / 4, { rowBytes: [4], operation })) {
    gpu.run(kernel, "replace", {
      buffers: { x: sliceRows(x, part, 4), y: sliceRows(y, part, 4) },
      params: { count: part.count, first: part.start, ...key, rate, low, range },
      threads: part.count,
    });
  }
}

/** Launcher of finite.wgsl: whether a tensor holds NaN or infinity, f32 or f16. @module */

import common from "./common.wgsl" with { type: "text" };
import source from "./finite.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { elementBytes, elementCount, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("finite", common, source);

/** Words that an invocation looks at. */
const WORDS_EACH = 64;

/** What {@linkcode flagNonFinite} looks at. */
export interface FlagNonFiniteOptions {
  /** The elements, f32 or f16. */
  x: Slice;
  /** One u32 a tensor. */
  flags: Slice;
  /** Which of them is set. */
  flag: number;
}

/**
 * Sets a flag to 1 if any element is NaN or infinite; else it keeps its value.
 *
 * @param gpu The device.
 * @param options Elements and flags.
 */
export function flagNonFinite(gpu: Gpu, { x, flags, flag }: FlagNonFiniteOptions): void {
  const width = elementBytes(x);
  // Two halves are a word; one left over is in a word of its own.
  const operation = "finite.flag_non_finite";
  const options = { rowBytes: [width], multiple: 4 / width, operation };
  for (const range of splitRows(gpu, elementCount(x), options)) {
    const { half: _half, ...bound } = sliceRows(x, range, width);
    const words = Math.ceil(bound.bytes / 4);
    const step = Math.ceil(words / WORDS_EACH);
    gpu.run(kernel, "flag_non_finite", {
      buffers: { x: bound, flags },
      params: { elements: range.count, words, step, flag },
      constants: { HALF: x.half ? 1 : 0 },
      threads: step,
    });
  }
}

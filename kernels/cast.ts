/** Launcher of cast.wgsl: conversion between f32 and f16 in memory. @module */

import source from "./cast.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { elementCount, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("cast", source, common);

/**
 * `y = x`, in the type of `y`: to the nearest f16, infinite where that is too large, or back to f32 exactly.
 *
 * @param gpu The device.
 * @param options Equally many elements `x` and `y`, one of them f16 and the other f32.
 */
export function cast(gpu: Gpu, options: { x: Slice; y: Slice }): void {
  const { x, y } = options;
  const toHalf = y.half ?? false;
  const [full, half] = toHalf ? [x, y] : [y, x];
  const entryPoint = toHalf ? "toHalf" : "toFull";
  const operation = `cast.${entryPoint}`;
  for (const range of splitRows(gpu, elementCount(y), { rowBytes: [4, 2], operation })) {
    const wide = sliceRows(full, range, 4);
    const narrow = sliceRows(half, range, 2);
    gpu.run(kernel, entryPoint, {
      buffers: toHalf ? { full: wide, rounded: narrow } : { half: narrow, widened: wide },
      params: { count: range.count },
      threads: range.count,
    });
  }
}

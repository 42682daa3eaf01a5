/** Launcher of argmax.wgsl: index of the largest element of each row. @module */

import source from "./argmax.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("argmax", common, source);

/** One invocation looks at about this many elements of a long row, or at the root of a very long one. */
const CHUNK_LENGTH = 128;

/**
 * Index of the largest element of each row, the first of equals.
 *
 * @param gpu The device.
 * @param shape Extents of `x`.
 * @param buffers `x` (rows, columns); `y` (rows), u32.
 */
export function argmaxRows(
  gpu: Gpu,
  shape: { rows: number; columns: number },
  buffers: { x: Slice; y: Slice },
): void {
  const { rows, columns } = shape;
  const chunks = Math.max(
    1,
    Math.floor(columns / Math.max(CHUNK_LENGTH, Math.ceil(Math.sqrt(columns)))),
  );
  const winners = gpu.acquire(4 * rows * chunks, "the largest elements of chunks");
  const indices = chunks === 1
    ? buffers.y
    : gpu.acquire(4 * rows * chunks, "the places of the largest elements of chunks");
  for (const range of splitRows(gpu, rows, { rowBytes: [4 * columns], operation: "argmax" })) {
    gpu.run(kernel, "of_elements", {
      buffers: {
        x: sliceRows(buffers.x, range, 4 * columns),
        winners,
        winner_indices: indices,
      },
      params: { rows: range.count, columns, chunks, first_row: range.start },
      threads: range.count * chunks,
    });
  }
  if (chunks > 1) {
    gpu.run(kernel, "of_winners", {
      buffers: { x: winners, indices, winner_indices: buffers.y },
      params: { rows, columns: chunks, chunks: 1, first_row: 0 },
      threads: rows,
    });
    gpu.release(indices);
  }
  gpu.release(winners);
}

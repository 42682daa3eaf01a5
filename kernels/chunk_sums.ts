/** Reductions over rows in two levels: how rows are cut into chunks, and the launcher that adds the chunks' sums. @module */

import source from "./chunk_sums.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import { type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = definePackedKernel("chunk_sums", source);

/**
 * Cuts rows into equal chunks, about as many chunks as rows in a chunk: neither level is then a long chain of additions, which would
 * lose digits and leave lanes idle.
 *
 * @param rows Rows to cut, at least 1.
 * @returns Rows of a chunk: the smallest divisor of `rows` that is at least its square root.
 */
export function chunkRows(rows: number): number {
  let chunks = Math.max(1, Math.floor(Math.sqrt(rows)));
  while (rows % chunks !== 0) chunks--;
  return rows / chunks;
}

/**
 * Adds over the chunks of each image: (batch, chunks, width) to (batch, width).
 *
 * @param gpu The device.
 * @param buffers `partial`, which is read, and `sums`, which is written.
 * @param size Extents of `partial`.
 */
export function chunkSums(
  gpu: Gpu,
  buffers: { partial: Slice; sums: Slice },
  size: { batch: number; chunks: number; width: number },
): void {
  const { batch, chunks, width } = size;
  const choice = packFor(kernel, width);
  const rowBytes = [4 * chunks * width, 4 * width] as const;
  for (const range of splitRows(gpu, batch, { rowBytes, operation: "chunk_sums" })) {
    gpu.run(choice.kernel, "sum", {
      buffers: {
        partial: sliceRows(buffers.partial, range, rowBytes[0]),
        sums: sliceRows(buffers.sums, range, rowBytes[1]),
      },
      params: { batch: range.count, chunks, packs: choice.packs },
      threads: range.count * choice.packs,
    });
  }
}

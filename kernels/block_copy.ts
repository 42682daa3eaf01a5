/** Launchers of block_copy.wgsl: copying and clearing columns of row-major matrices. @module */

import source from "./block_copy.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { elementBytes, type Slice, sliceRows, splitRows, subslice } from "./slice.ts";

const words = defineKernel("block_copy", common, source);
const halves = defineKernel(
  "block_copy",
  "enable f16;",
  common,
  source.replaceAll("array<u32>", "array<f16>").replaceAll("u32(0)", "f16(0)"),
);

/** Columns of a row-major matrix. */
export interface Block {
  /** The whole matrix. */
  matrix: Slice;
  /** Elements of a row of the matrix. */
  stride: number;
  /** First column. */
  column: number;
}

/** Extents of a block. */
export interface BlockSize {
  /** Rows; all of the matrix. */
  rows: number;
  /** Columns. */
  columns: number;
}

/**
 * Copies a block into another.
 *
 * @param gpu The device.
 * @param size Extents of both blocks.
 * @param blocks Where from and where to, in different buffers.
 */
export function copyBlock(gpu: Gpu, size: BlockSize, blocks: { from: Block; to: Block }): void {
  const { from, to } = blocks;
  const bytes = elementBytes(from.matrix);
  const parts = [
    subslice(from.matrix, bytes * from.column, bytes * size.columns),
    subslice(to.matrix, bytes * to.column, bytes * size.columns),
  ] as const;
  if (size.rows === 1 && parts.every(isWholeWords)) {
    gpu.copy(...parts);
    return;
  }
  const rowBytes = [bytes * from.stride, bytes * to.stride] as const;
  for (const range of splitRows(gpu, size.rows, { rowBytes, operation: "block_copy.copy" })) {
    gpu.run(from.matrix.half ? halves : words, "copy", {
      buffers: {
        x: sliceRows(from.matrix, range, rowBytes[0]),
        y: sliceRows(to.matrix, range, rowBytes[1]),
      },
      params: {
        rows: range.count,
        columns: size.columns,
        x_stride: from.stride,
        x_column: from.column,
        y_stride: to.stride,
        y_column: to.column,
      },
      threads: range.count * size.columns,
    });
  }
}

/**
 * Sets a block to zero bytes.
 *
 * @param gpu The device.
 * @param size Extents.
 * @param block What is cleared.
 */
export function clearBlock(gpu: Gpu, size: BlockSize, block: Block): void {
  const { matrix, stride, column } = block;
  if (size.columns === 0) return;
  const bytes = elementBytes(matrix);
  const part = subslice(matrix, bytes * column, bytes * size.columns);
  if (size.rows === 1 && isWholeWords(part)) {
    gpu.clear(part);
    return;
  }
  const rowBytes = [bytes * stride];
  for (const range of splitRows(gpu, size.rows, { rowBytes, operation: "block_copy.clear" })) {
    gpu.run(matrix.half ? halves : words, "clear", {
      buffers: { y: sliceRows(matrix, range, bytes * stride) },
      params: {
        rows: range.count,
        columns: size.columns,
        x_stride: 0,
        x_column: 0,
        y_stride: stride,
        y_column: column,
      },
      threads: range.count * size.columns,
    });
  }
}

/** Whether a part can be copied or cleared without touching its neighbors: the queue moves words of 4 bytes. */
function isWholeWords({ offsetBytes, bytes }: Slice): boolean {
  return offsetBytes % 4 === 0 && bytes % 4 === 0;
}

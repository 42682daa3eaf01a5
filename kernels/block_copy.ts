/** Launchers of block_copy.wgsl: copying and clearing columns of row-major matrices. @module */

import source from "./block_copy.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { type Slice, sliceRows, splitRows, subslice } from "./slice.ts";

const kernel = defineKernel("block_copy", common, source);

/** Columns of a row-major matrix of 4-byte elements. */
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
  if (size.rows === 1) {
    gpu.copy(
      subslice(from.matrix, 4 * from.column, 4 * size.columns),
      subslice(to.matrix, 4 * to.column, 4 * size.columns),
    );
    return;
  }
  const rowBytes = [4 * from.stride, 4 * to.stride] as const;
  for (const range of splitRows(gpu, size.rows, { rowBytes, operation: "block_copy.copy" })) {
    gpu.run(kernel, "copy", {
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
  if (size.rows === 1) {
    gpu.clear(subslice(matrix, 4 * column, 4 * size.columns));
    return;
  }
  const rowBytes = [4 * stride];
  for (const range of splitRows(gpu, size.rows, { rowBytes, operation: "block_copy.clear" })) {
    gpu.run(kernel, "clear", {
      buffers: { y: sliceRows(matrix, range, 4 * stride) },
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

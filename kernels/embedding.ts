/** Launchers of embedding.wgsl: table lookup by index and its gradient. @module */

import common from "./common.wgsl" with { type: "text" };
import source from "./embedding.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { MOST_ITERATIONS } from "./loop_limit.ts";
import {
  type BindingLimits,
  elementBytes,
  type RowRange,
  type Slice,
  sliceRows,
  splitRows,
} from "./slice.ts";

const kernel = defineKernel("embedding", common, source);

/** Uses that one pass links: the chain of a row is walked in one loop, with another around it for each 32 uses. */
const MOST_USES = Math.floor(MOST_ITERATIONS * 32 / 33) - 1;

/** Extents of a table and of a list of indices into it. */
export interface EmbeddingShape {
  /** Rows of the table. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** Number of indices. */
  uses: number;
}

function ranges(limits: BindingLimits, count: number, shape: EmbeddingShape): RowRange[] {
  return splitRows(limits, count, { rowBytes: [4 * shape.columns], operation: "embedding" });
}

function paramsOf(
  shape: EmbeddingShape,
  range: { rows: RowRange; uses: RowRange },
): Record<string, number> {
  return {
    first_row: range.rows.start,
    rows: range.rows.count,
    table_rows: shape.rows,
    first_use: range.uses.start,
    uses: range.uses.count,
    columns: shape.columns,
    accumulate: range.uses.start > 0 ? 1 : 0,
  };
}

/**
 * `y[i] = table[indices[i]]`, row by row; NaN for an index that is no row.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param buffers `table` (rows, columns), f32 or f16; `indices` (uses), u32; `y` (uses, columns), f32.
 */
export function gatherRows(
  gpu: Gpu,
  shape: EmbeddingShape,
  buffers: { table: Slice; indices: Slice; y: Slice },
): void {
  const rowBytes = 4 * shape.columns;
  const tableBytes = elementBytes(buffers.table) * shape.columns;
  const tableRanges = splitRows(gpu, shape.rows, {
    rowBytes: [tableBytes],
    operation: "embedding",
  });
  for (const uses of ranges(gpu, shape.uses, shape)) {
    for (const rows of tableRanges) {
      gpu.run(kernel, "gather", {
        buffers: {
          table: sliceRows(buffers.table, rows, tableBytes),
          indices: buffers.indices,
          y: sliceRows(buffers.y, uses, rowBytes),
        },
        params: paramsOf(shape, { rows, uses }),
        threads: uses.count * shape.columns,
      });
    }
  }
}

/**
 * `dtable[row] = Σ dy[i]` over the i with `indices[i] = row`, 0 for rows that are not used. Deterministic.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param buffers `indices` (uses), u32; `dy` (uses, columns); `dtable` (rows, columns).
 */
export function scatterRows(
  gpu: Gpu,
  shape: EmbeddingShape,
  buffers: { indices: Slice; dy: Slice; dtable: Slice },
): void {
  const rowBytes = 4 * shape.columns;
  const { indices, dy, dtable } = buffers;
  const last = gpu.acquire(4 * shape.rows, "the last uses of an embedding's rows");
  const previous = gpu.acquire(4 * shape.uses, "the chains of an embedding's uses");
  const limits = {
    maxBindingBytes: Math.min(gpu.maxBindingBytes, MOST_USES * rowBytes),
    offsetAlignment: gpu.offsetAlignment,
  };
  for (const uses of ranges(limits, shape.uses, shape)) {
    const all = { start: 0, count: shape.rows };
    gpu.clear(last);
    gpu.run(kernel, "link", {
      buffers: { indices, last, previous },
      params: paramsOf(shape, { rows: all, uses }),
      threads: uses.count,
    });
    for (const rows of ranges(gpu, shape.rows, shape)) {
      gpu.run(kernel, "scatter", {
        buffers: {
          dy: sliceRows(dy, uses, rowBytes),
          last_use: last,
          previous_use: previous,
          dtable: sliceRows(dtable, rows, rowBytes),
        },
        params: paramsOf(shape, { rows, uses }),
        threads: rows.count * shape.columns,
      });
    }
  }
  gpu.release(last);
  gpu.release(previous);
}

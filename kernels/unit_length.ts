/** Launchers of unit_length.wgsl: rows divided by their length. @module */

import type { Gpu } from "./gpu.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import { reduce } from "./reduce.ts";
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";
import source from "./unit_length.wgsl" with { type: "text" };

const kernel = definePackedKernel("unit_length", source);

/** Extents and constant of a normalization of rows to unit length. */
export interface UnitLengthShape {
  /** Number of rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** Added to the length. */
  eps: number;
}

function launch(
  gpu: Gpu,
  entryPoint: string,
  shape: UnitLengthShape,
  options: { matrices: Record<string, Slice>; vectors: Record<string, Slice> },
): void {
  const { rows, columns, eps } = shape;
  const rowBytes = elementBytes(options.matrices.x!) * columns;
  const operation = `unit_length.${entryPoint}`;
  for (const range of splitRows(gpu, rows, { rowBytes: [rowBytes], operation })) {
    const buffers = { ...options.vectors };
    for (const [name, slice] of Object.entries(options.matrices)) {
      buffers[name] = sliceRows(slice, range, rowBytes);
    }
    const { kernel: chosen, packs } = packFor(kernel, columns);
    const count = range.count * packs;
    gpu.run(chosen, entryPoint, {
      buffers,
      params: { count, packs, first_row: range.start, eps },
      threads: count,
    });
  }
}

/**
 * `y = x / (sqrt(Σ x²) + eps)`, the sum over the row.
 *
 * @param gpu The device.
 * @param shape Extents and eps.
 * @param buffers `x` and `y` (rows, columns); `squares` (rows) receives the sums.
 */
export function unitLengthForward(
  gpu: Gpu,
  shape: UnitLengthShape,
  buffers: { x: Slice; squares: Slice; y: Slice },
): void {
  const { x, squares, y } = buffers;
  reduce(gpu, "sum_squares", {
    a: x,
    y: squares,
    outer: shape.rows,
    length: shape.columns,
    inner: 1,
  });
  launch(gpu, "forward", shape, { matrices: { x, y }, vectors: { squares } });
}

/**
 * Gradient of {@linkcode unitLengthForward}; 0 for rows of zeros.
 *
 * @param gpu The device.
 * @param shape Extents and eps.
 * @param buffers `x`, `dy` and `dx` (rows, columns); `squares` (rows) from the forward pass; scratch `products` (rows).
 */
export function unitLengthBackward(
  gpu: Gpu,
  shape: UnitLengthShape,
  buffers: { x: Slice; squares: Slice; products: Slice; dy: Slice; dx: Slice },
): void {
  const { x, squares, products, dy, dx } = buffers;
  reduce(gpu, "sum_products", {
    a: x,
    b: dy,
    y: products,
    outer: shape.rows,
    length: shape.columns,
    inner: 1,
  });
  launch(gpu, "backward", shape, { matrices: { x, dy, y: dx }, vectors: { squares, products } });
}

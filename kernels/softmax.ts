/** Launchers of softmax.wgsl: softmax, log-softmax and cross-entropy over rows of any length. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { reduce } from "./reduce.ts";
import { type Slice, sliceRows, splitRows } from "./slice.ts";
import source from "./softmax.wgsl" with { type: "text" };
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("softmax", common, special, source);

/** Extents of a matrix whose rows are normalized. */
export interface RowsShape {
  /** Number of rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
}

/** Slices of one element a row, which are bound whole; the others have the shape of the matrix and are split by rows. */
const WHOLE = new Set(["maxima", "sums", "targets"]);

function launch(
  gpu: Gpu,
  entryPoint: string,
  shape: RowsShape,
  options: {
    buffers: Record<string, Slice>;
    whole?: readonly string[];
    perRow?: boolean;
    gradientStride?: number;
    factor?: number;
  },
): void {
  const { rows, columns } = shape;
  const operation = `softmax.${entryPoint}`;
  for (const range of splitRows(gpu, rows, { rowBytes: [4 * columns], operation })) {
    const buffers: Record<string, Slice> = {};
    for (const [name, slice] of Object.entries(options.buffers)) {
      buffers[name] = WHOLE.has(name) || options.whole?.includes(name)
        ? slice
        : sliceRows(slice, range, 4 * columns);
    }
    const count = options.perRow ? range.count : range.count * columns;
    gpu.run(kernel, entryPoint, {
      buffers,
      params: {
        count,
        columns,
        first_row: range.start,
        gradient_stride: options.gradientStride ?? 0,
        factor: options.factor ?? 1,
      },
      threads: count,
    });
  }
}

/**
 * Maximum and sum of exponentials of each row, from which softmax, log-softmax and cross-entropy follow.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param buffers `x` (rows, columns); `maxima` and `sums` (rows): max(x) and Σ exp(x − max(x)).
 */
export function rowStatistics(
  gpu: Gpu,
  shape: RowsShape,
  buffers: { x: Slice; maxima: Slice; sums: Slice },
): void {
  const { x, maxima, sums } = buffers;
  const extents = { outer: shape.rows, length: shape.columns, inner: 1 };
  reduce(gpu, "maximum", { a: x, y: maxima, ...extents });
  reduce(gpu, "sum_exponentials", { a: x, b: maxima, y: sums, ...extents });
}

/**
 * Softmax or its logarithm.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param options `x`, `y` (rows, columns); what {@linkcode rowStatistics} found; `logarithm`: whether y is log(softmax(x)).
 */
export function softmaxForward(
  gpu: Gpu,
  shape: RowsShape,
  options: { x: Slice; maxima: Slice; sums: Slice; y: Slice; logarithm: boolean },
): void {
  const { logarithm, ...buffers } = options;
  launch(gpu, logarithm ? "log_softmax" : "softmax", shape, { buffers });
}

/**
 * Gradient of softmax or of its logarithm.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param options The output `y` of the forward pass, `dy` and `dx` (rows, columns); scratch `sums` (rows).
 */
export function softmaxBackward(
  gpu: Gpu,
  shape: RowsShape,
  options: { y: Slice; dy: Slice; dx: Slice; sums: Slice; logarithm: boolean },
): void {
  const { y, dy, dx, sums, logarithm } = options;
  const extents = { outer: shape.rows, length: shape.columns, inner: 1 };
  if (logarithm) reduce(gpu, "sum", { a: dy, y: sums, ...extents });
  else reduce(gpu, "sum_products", { a: y, b: dy, y: sums, ...extents });
  launch(gpu, logarithm ? "log_softmax_backward" : "softmax_backward", shape, {
    buffers: { x: y, sums, dy, y: dx },
  });
}

/**
 * Cross-entropy of each row with its target column: `max + log(sum) - x[target]`; NaN for a target that is no column.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param buffers `x` (rows, columns); what {@linkcode rowStatistics} found; `targets` (rows), u32; `losses` (rows).
 */
export function crossEntropyForward(
  gpu: Gpu,
  shape: RowsShape,
  buffers: { x: Slice; maxima: Slice; sums: Slice; targets: Slice; losses: Slice },
): void {
  const { losses, ...inputs } = buffers;
  launch(gpu, "cross_entropy", shape, {
    buffers: { ...inputs, y: losses },
    whole: ["y"],
    perRow: true,
  });
}

/**
 * Gradient of cross-entropy: `factor dy (softmax(x) - onehot(target))`.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param options As forward; `dy` (rows), or one element that all rows share if `shared`; `dx` (rows, columns).
 */
export function crossEntropyBackward(
  gpu: Gpu,
  shape: RowsShape,
  options: {
    x: Slice;
    maxima: Slice;
    sums: Slice;
    targets: Slice;
    dy: Slice;
    dx: Slice;
    shared: boolean;
    factor: number;
  },
): void {
  const { shared, factor, dx, ...inputs } = options;
  launch(gpu, "cross_entropy_backward", shape, {
    buffers: { ...inputs, y: dx },
    whole: ["dy"],
    gradientStride: shared ? 0 : 1,
    factor,
  });
}

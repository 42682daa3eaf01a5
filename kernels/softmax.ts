/** Launchers of softmax.wgsl: softmax, log-softmax and cross-entropy over rows of any length. @module */

import type { Gpu } from "./gpu.ts";
import { defineHeldKernel, holdsRows, runHeldRows } from "./held_rows.ts";
import { lanesFor } from "./lanes.ts";
import lanes from "./lanes.wgsl" with { type: "text" };
import { definePackedKernel, packFor, runPacked } from "./pack.ts";
import rowExponentials from "./row_exponentials.wgsl" with { type: "text" };
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";
import source from "./softmax.wgsl" with { type: "text" };
import { copyLimits } from "./texel_pool.ts";

const kernels = definePackedKernel("softmax", `${lanes}\n${rowExponentials}\n${source}`, {
  x: { binding: 1 },
  dy: { binding: 3 },
});

/** Softmax of rows of a fixed length: each exponential is taken once. */
const heldKernel = defineHeldKernel(
  "softmax",
  { x: { binding: 1 } },
  ({ rowPacks, each, combine }) =>
    `struct Params { rows: u32, each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read_write> y: array<StoredPack>; // (rows, packs)

@compute @workgroup_size(THREADS)
fn softmax(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let begin = flatIndex(w, n, 0u) / THREADS * params.each;
  for (var row = begin; row < min(begin + params.each, params.rows); row++) {
    let first = row * ${rowPacks}u + l;
    ${each((i, at) => `let x${i} = xAt(first + ${at});`)}
    let greatest = subgroupMax(packMaximum(${
      combine((a, b) => `max(${a}, ${b})`, (i) => `x${i}`)
    }));
    ${each((i) => `let e${i} = packExpOfNegative(x${i} - greatest);`)}
    let share = 1.0 / subgroupAdd(packSum(${combine((a, b) => `(${a} + ${b})`, (i) => `e${i}`)}));
    ${each((i, at) => `y[first + ${at}] = StoredPack(e${i} * share);`)}
  }
}`,
);

/** Extents of a matrix whose rows are normalized. */
export interface RowsShape {
  /** Number of rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
}

/** How often a row is walked over, at most. */
const WALKS = 2;

/** Runs an entry point: `matrices` have the shape of the matrix and are split by rows, `whole` is one element a row. */
function launch(
  gpu: Gpu,
  entryPoint: string,
  shape: RowsShape,
  options: {
    matrices: Record<string, Slice>;
    whole?: Record<string, Slice>;
    perElement?: boolean;
    gradientStride?: number;
    factor?: number;
  },
): void {
  const { rows, columns } = shape;
  const operation = `softmax.${entryPoint}`;
  const matrices = Object.entries(options.matrices);
  const { packs } = packFor(kernels, columns);
  const rowBytes = elementBytes(matrices[0]![1]) * columns;
  for (const range of splitRows(copyLimits(gpu), rows, { rowBytes: [rowBytes], operation })) {
    const parts = matrices.map(([name, slice]) => [name, sliceRows(slice, range, rowBytes)]);
    runPacked(gpu, kernels, columns, entryPoint, {
      buffers: { ...options.whole, ...Object.fromEntries(parts) },
      params: {
        rows: range.count,
        columns,
        packs,
        first_row: range.start,
        gradient_stride: options.gradientStride ?? 0,
        factor: options.factor ?? 1,
      },
      ...(options.perElement
        ? { threads: range.count * packs }
        : lanesFor(gpu, range.count, { iterations: WALKS * packs, operation })),
    });
  }
}

/**
 * Softmax or its logarithm.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param options `x`, `y` (rows, columns), both f32 or f16; `logarithm`: whether y is log(softmax(x)).
 */
export function softmaxForward(
  gpu: Gpu,
  shape: RowsShape,
  options: { x: Slice; y: Slice; logarithm: boolean },
): void {
  const { logarithm, ...matrices } = options;
  if (!logarithm && holdsRows(gpu, shape.columns)) {
    runHeldRows(gpu, heldKernel, "softmax", { ...shape, matrices });
    return;
  }
  launch(gpu, logarithm ? "log_softmax" : "softmax", shape, { matrices });
}

/**
 * Gradient of softmax or of its logarithm.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param options The output `y` of the forward pass, `dy` and `dx` (rows, columns), all f32 or all f16.
 */
export function softmaxBackward(
  gpu: Gpu,
  shape: RowsShape,
  options: { y: Slice; dy: Slice; dx: Slice; logarithm: boolean },
): void {
  const { y, dy, dx, logarithm } = options;
  launch(gpu, logarithm ? "log_softmax_backward" : "softmax_backward", shape, {
    matrices: { x: y, dy, y: dx },
  });
}

/**
 * Cross-entropy of each row with its target column: `log(Σ exp(x)) - x[target]`; NaN for a target that is no column.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param buffers `x` (rows, columns), f32 or f16; `targets` (rows), u32; `losses` and, for the gradient, `logSums` (rows), f32.
 */
export function crossEntropyForward(
  gpu: Gpu,
  shape: RowsShape,
  buffers: Record<"x" | "targets" | "losses" | "logSums", Slice>,
): void {
  const { x, targets, losses, logSums } = buffers;
  launch(gpu, "cross_entropy", shape, {
    matrices: { x },
    whole: { targets, losses, newLogSums: logSums },
  });
}

/**
 * Gradient of cross-entropy: `factor dy (softmax(x) - onehot(target))`.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param options As forward; `dy` (rows), or one element that all rows share if `shared`; `dx` (rows, columns), in the type of x.
 */
export function crossEntropyBackward(
  gpu: Gpu,
  shape: RowsShape,
  options: Record<"x" | "targets" | "logSums" | "dy" | "dx", Slice> & {
    shared: boolean;
    factor: number;
  },
): void {
  const { x, targets, logSums, dy, dx, shared, factor } = options;
  launch(gpu, "cross_entropy_backward", shape, {
    matrices: { x, y: dx },
    whole: { targets, logSums, dlosses: dy },
    perElement: true,
    gradientStride: shared ? 0 : 1,
    factor,
  });
}

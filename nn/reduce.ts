/** Sums and means over axes. @module */

import { expand } from "../kernels/broadcast.ts";
import { reduce } from "../kernels/reduce.ts";
import { sizeOf, type Tensor } from "./tensor.ts";

/** Options of {@linkcode sum} and {@linkcode mean}. */
export interface ReduceAxesOptions {
  /** Neighboring axes in ascending order; negative numbers count from the end. Default: all axes. */
  axes?: readonly number[];
}

/** A shape around the axes that go away. */
interface Axes {
  outer: number;
  length: number;
  inner: number;
  shape: number[];
}

function axesOf(x: Tensor, options: ReduceAxesOptions, operation: string): Axes {
  const rank = x.shape.length;
  const axes = options.axes?.map((axis) => axis < 0 ? axis + rank : axis) ??
    x.shape.map((_, i) => i);
  const first = axes[0] ?? 0;
  if (
    (options.axes && axes.length === 0) ||
    axes.some((axis, i) => axis !== first + i || axis < 0 || axis >= rank)
  ) {
    throw new TypeError(
      `Cannot run ${operation}: expected neighboring axes of shape [${x.shape}], found [${options.axes}]`,
    );
  }
  const before = x.shape.slice(0, first);
  const after = x.shape.slice(first + axes.length);
  const outer = sizeOf(before);
  const inner = sizeOf(after);
  return { outer, length: x.size / (outer * inner), inner, shape: [...before, ...after] };
}

function total(x: Tensor, op: string, axes: Axes, factor: number): Tensor {
  const { outer, length, inner, shape } = axes;
  const { tape } = x;
  const y = tape.alloc(shape);
  reduce(tape.gpu, "sum", { a: x.storage, y: y.storage, outer, length, inner, factor });
  return tape.record(op, y, [x], (dy) => {
    const dx = tape.alloc(x.shape);
    expand(tape.gpu, { outer, middle: length, inner }, {
      vector: dy.storage,
      y: dx.storage,
      factor,
    });
    return [dx];
  });
}

/**
 * Sum over all elements, or over neighboring axes. Deterministic, with partial sums.
 *
 * @param x Any shape.
 * @param options Axes.
 * @returns A scalar, or the shape of `x` without those axes.
 * @throws {TypeError} If the axes are not neighbors, or not axes of `x`.
 */
export function sum(x: Tensor, options: ReduceAxesOptions = {}): Tensor {
  return total(x, "sum", axesOf(x, options, "sum()"), 1);
}

/**
 * Mean of all elements, or over neighboring axes. Deterministic, with partial sums.
 *
 * @param x Any shape.
 * @param options Axes.
 * @returns A scalar, or the shape of `x` without those axes.
 * @throws {TypeError} If the axes are not neighbors, or not axes of `x`.
 *
 * @example Mean of each channel of each image
 * ```ts ignore
 * const means = mean(x, { axes: [1, 2] }); // (batch, height, width, channels) to (batch, channels)
 * ```
 */
export function mean(x: Tensor, options: ReduceAxesOptions = {}): Tensor {
  const axes = axesOf(x, options, "mean()");
  return total(x, "mean", axes, 1 / axes.length);
}

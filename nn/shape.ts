/** Joining tensors along an axis, and taking parts of one. @module */

import { type BlockSize, clearBlock, copyBlock } from "../kernels/block_copy.ts";
import { sizeOf, type Tensor } from "./tensor.ts";

/** Which axis. */
export interface AxisOptions {
  /** Number of the axis; negative numbers count from the end. Default -1, the last. */
  axis?: number;
}

/** A tensor seen as a matrix: the axes before the chosen one are rows, that one and the rest are columns. */
interface AxisView {
  axis: number;
  rows: number;
  extent: number;
  inner: number;
}

function axisView(x: Tensor, options: AxisOptions, operation: string): AxisView {
  const rank = x.shape.length;
  const { axis = -1 } = options;
  const number = axis < 0 ? axis + rank : axis;
  const extent = x.shape[number];
  if (extent === undefined) {
    throw new TypeError(
      `Cannot run ${operation}: expected an axis of shape [${x.shape}], found ${axis}`,
    );
  }
  return {
    axis: number,
    rows: sizeOf(x.shape.slice(0, number)),
    extent,
    inner: sizeOf(x.shape.slice(number + 1)),
  };
}

function withExtent(shape: readonly number[], axis: number, extent: number): number[] {
  return shape.map((value, i) => i === axis ? extent : value);
}

/** Copies a run of the axis out of `x` into a new tensor. */
function takeRun(x: Tensor, view: AxisView, start: number, length: number): Tensor {
  const { rows, extent, inner, axis } = view;
  const y = x.tape.alloc(withExtent(x.shape, axis, length), x.dtype);
  copyBlock(x.tape.gpu, { rows, columns: length * inner }, {
    from: { matrix: x.storage, stride: extent * inner, column: start * inner },
    to: { matrix: y.storage, stride: length * inner, column: 0 },
  });
  return y;
}

/** Makes the gradient of a tensor from gradients of runs that cover its axis; runs without one become 0. */
function joinRuns(
  x: Tensor,
  view: AxisView,
  runs: readonly { start: number; length: number; gradient: Tensor | undefined }[],
): Tensor {
  const { rows, extent, inner } = view;
  const dx = x.tape.alloc(x.shape, x.dtype);
  for (const { start, length, gradient } of runs) {
    const size: BlockSize = { rows, columns: length * inner };
    const to = { matrix: dx.storage, stride: extent * inner, column: start * inner };
    if (gradient) {
      const from = { matrix: gradient.storage, stride: length * inner, column: 0 };
      copyBlock(x.tape.gpu, size, { from, to });
    } else {
      clearBlock(x.tape.gpu, size, to);
    }
  }
  return dx;
}

/**
 * Joins tensors along an axis.
 *
 * @param tensors At least one; equal element type, and equal shapes but for that axis.
 * @param options Axis, default the last.
 * @returns A tensor whose axis is as long as theirs together.
 * @throws {TypeError} If there is none, or shapes or types do not fit.
 */
export function concat(tensors: readonly Tensor[], options: AxisOptions = {}): Tensor {
  const [first] = tensors;
  if (!first) throw new TypeError("Cannot run concat(): expected at least one tensor, found none");
  const { axis, rows, inner } = axisView(first, options, "concat()");
  let extent = 0;
  const starts = tensors.map((x) => {
    const fits = x.dtype === first.dtype && x.shape.length === first.shape.length &&
      x.shape.every((value, i) => i === axis || value === first.shape[i]);
    if (!fits) {
      throw new TypeError(
        `Cannot run concat(): expected ${first.dtype} shapes like [${first.shape}] but for axis ${axis}, found ${x.dtype} [${x.shape}]`,
      );
    }
    const start = extent;
    extent += x.shape[axis]!;
    return start;
  });
  const { tape } = first;
  const y = tape.alloc(withExtent(first.shape, axis, extent), first.dtype);
  for (const [i, x] of tensors.entries()) {
    const columns = x.shape[axis]! * inner;
    copyBlock(tape.gpu, { rows, columns }, {
      from: { matrix: x.storage, stride: columns, column: 0 },
      to: { matrix: y.storage, stride: extent * inner, column: starts[i]! * inner },
    });
  }
  const view = { axis, rows, extent, inner };
  return tape.record(
    "concat",
    y,
    tensors,
    (dy, needs) =>
      tensors.map((x, i) => needs[i] ? takeRun(dy, view, starts[i]!, x.shape[axis]!) : undefined),
  );
}

/**
 * Cuts a tensor into parts along an axis.
 *
 * @param x At least one axis.
 * @param sizes Extents of the parts, in order; their sum is the extent of the axis.
 * @param options Axis, default the last.
 * @returns As many tensors as sizes.
 * @throws {TypeError} If the sizes do not add up to the extent.
 *
 * @example The six parts of an adaptive norm
 * ```ts ignore
 * const [gamma1, gamma2, scale1, scale2, shift1, shift2] = split(y, [d, d, d, d, d, d]);
 * ```
 */
export function split<const Sizes extends readonly number[]>(
  x: Tensor,
  sizes: Sizes,
  options: AxisOptions = {},
): { -readonly [Index in keyof Sizes]: Tensor } {
  const view = axisView(x, options, "split()");
  let total = 0;
  const starts = sizes.map((size) => (total += size) - size);
  if (total !== view.extent || sizes.some((size) => !(size > 0))) {
    throw new TypeError(
      `Cannot run split(): expected positive sizes that add up to ${view.extent}, found [${sizes}]`,
    );
  }
  const outputs = sizes.map((size, i) => takeRun(x, view, starts[i]!, size));
  x.tape.recordNode({
    op: "split",
    inputs: [x],
    outputs,
    backward: (gradients) => [
      joinRuns(
        x,
        view,
        sizes.map((length, i) => ({ start: starts[i]!, length, gradient: gradients[i] })),
      ),
    ],
  });
  return outputs as { -readonly [Index in keyof Sizes]: Tensor };
}

/**
 * Takes a run of an axis.
 *
 * @param x At least one axis.
 * @param options Axis (default the last), first index, and number of indices.
 * @returns The shape of `x` with that axis `length` long.
 * @throws {RangeError} If the run is not within the axis.
 */
export function slice(
  x: Tensor,
  options: AxisOptions & { start: number; length: number },
): Tensor {
  const { start, length } = options;
  const view = axisView(x, options, "slice()");
  const end = start + length;
  if (!(start >= 0 && length > 0 && end <= view.extent)) {
    throw new RangeError(
      `Cannot run slice(): expected a run within 0 to ${view.extent}, found ${start} to ${end}`,
    );
  }
  return x.tape.record("slice", takeRun(x, view, start, length), [x], (dy) => [
    joinRuns(x, view, [
      { start: 0, length: start, gradient: undefined },
      { start, length, gradient: dy },
      { start: end, length: view.extent - end, gradient: undefined },
    ]),
  ]);
}

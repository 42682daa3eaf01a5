/** Softmax over the last axis, and its logarithm. @module */

import { type RowsShape, softmaxBackward, softmaxForward } from "../kernels/softmax.ts";
import type { Tensor } from "./tensor.ts";

/**
 * Views a tensor as rows of its last axis.
 *
 * @param x At least one axis.
 * @param operation Named in the error.
 * @returns Number of rows and their length.
 * @throws {TypeError} If `x` is a scalar or empty.
 */
export function rowsOf(x: Tensor, operation: string): RowsShape {
  const columns = x.shape.at(-1);
  if (!columns) {
    throw new TypeError(
      `Cannot run ${operation}: expected a last axis with elements, found shape [${x.shape}]`,
    );
  }
  return { rows: x.size / columns, columns };
}

function normalize(x: Tensor, logarithm: boolean): Tensor {
  const op = logarithm ? "logSoftmax" : "softmax";
  const shape = rowsOf(x, `${op}()`);
  const { tape } = x;
  const y = tape.alloc(x.shape, x.dtype);
  softmaxForward(tape.gpu, shape, { x: x.storage, y: y.storage, logarithm });
  return tape.record(op, y, [x], (dy) => {
    const dx = tape.alloc(x.shape, x.dtype);
    softmaxBackward(tape.gpu, shape, {
      y: y.storage,
      dy: dy.storage,
      dx: dx.storage,
      logarithm,
    });
    return [dx];
  });
}

/**
 * Softmax over the last axis: `exp(x_i) / Σ_j exp(x_j)`, safe for large values.
 *
 * @param x At least one axis.
 * @returns Same shape; the last axis sums to 1.
 * @throws {TypeError} If `x` is a scalar.
 */
export function softmax(x: Tensor): Tensor {
  return normalize(x, false);
}

/**
 * Logarithm of the softmax over the last axis: `x_i - log Σ_j exp(x_j)`, safe for large values.
 *
 * @param x At least one axis.
 * @returns Same shape, in nats.
 * @throws {TypeError} If `x` is a scalar.
 */
export function logSoftmax(x: Tensor): Tensor {
  return normalize(x, true);
}

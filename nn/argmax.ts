/** Index of the largest element. @module */

import { argmaxRows } from "../kernels/argmax.ts";
import { rowsOf } from "./softmax.ts";
import type { Tensor } from "./tensor.ts";

/**
 * Index of the largest element along the last axis, the first of equals. Not differentiable.
 *
 * @param x Shape (…, columns).
 * @returns Shape (…), u32.
 * @throws {TypeError} If `x` is a scalar.
 */
export function argmax(x: Tensor): Tensor {
  const shape = rowsOf(x, "argmax()");
  const y = x.tape.alloc(x.shape.slice(0, -1), "u32");
  argmaxRows(x.tape.gpu, shape, { x: x.storage, y: y.storage });
  return x.tape.record("argmax", y, [], () => []);
}

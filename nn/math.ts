/** Arithmetic, reshaping and detaching of tensors. @module */

import { affine, linearCombination, multiply } from "../kernels/elementwise.ts";
import { assertShape, sizeOf, type Tensor } from "./tensor.ts";

/**
 * Sum of two tensors of equal shape, each with a factor: `alpha a + beta b`.
 *
 * @param a First tensor.
 * @param b Second tensor, same shape.
 * @param options Factors, both 1 by default.
 * @returns Same shape.
 * @throws {TypeError} If the shapes differ.
 */
export function add(a: Tensor, b: Tensor, options: { alpha?: number; beta?: number } = {}): Tensor {
  const { alpha = 1, beta = 1 } = options;
  assertShape(b, a.shape, "add() b");
  const { tape } = a;
  const y = tape.alloc(a.shape, a.dtype);
  linearCombination(tape.gpu, { a: a.storage, b: b.storage, y: y.storage, alpha, beta });
  return tape.record("add", y, [a, b], (dy, needs) => [
    needs[0] ? scaled(dy, alpha) : undefined,
    needs[1] ? scaled(dy, beta) : undefined,
  ]);
}

/**
 * Product of two tensors of equal shape, element by element.
 *
 * @param a First tensor.
 * @param b Second tensor, same shape.
 * @returns Same shape.
 * @throws {TypeError} If the shapes differ.
 */
export function mul(a: Tensor, b: Tensor): Tensor {
  assertShape(b, a.shape, "mul() b");
  const { tape } = a;
  const product = (p: Tensor, q: Tensor): Tensor => {
    const y = tape.alloc(p.shape, p.dtype);
    multiply(tape.gpu, { a: p.storage, b: q.storage, y: y.storage });
    return y;
  };
  return tape.record("mul", product(a, b), [a, b], (dy, needs) => [
    needs[0] ? product(dy, b) : undefined,
    needs[1] ? product(dy, a) : undefined,
  ]);
}

/**
 * `factor x + summand`, element by element.
 *
 * @param x Any shape.
 * @param factor Multiplies each element.
 * @param summand Added to each element, default 0.
 * @returns Same shape.
 */
export function scale(x: Tensor, factor: number, summand = 0): Tensor {
  const y = x.tape.alloc(x.shape, x.dtype);
  affine(x.tape.gpu, { a: x.storage, y: y.storage, alpha: factor, beta: summand });
  return x.tape.record("scale", y, [x], (dy) => [scaled(dy, factor)]);
}

/**
 * The same elements in another shape, without a copy.
 *
 * @param x Any shape.
 * @param shape Extents with the same product.
 * @returns A view.
 * @throws {TypeError} If the products differ.
 */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  if (sizeOf(shape) !== x.size) {
    throw new TypeError(`Cannot reshape: expected a shape of ${x.size} elements, found [${shape}]`);
  }
  const { tape } = x;
  return tape.record("reshape", tape.view(x, shape), [x], (dy) => [tape.view(dy, x.shape)]);
}

/**
 * The same elements as a constant: gradients stop here (`sg` in the paper).
 *
 * @param x Any shape.
 * @returns A view through which no gradient flows.
 */
export function detach(x: Tensor): Tensor {
  return x.tape.constant(x);
}

function scaled(dy: Tensor, factor: number): Tensor {
  if (factor === 1) return dy;
  const dx = dy.tape.alloc(dy.shape, dy.dtype);
  affine(dy.tape.gpu, { a: dy.storage, y: dx.storage, alpha: factor });
  return dx;
}

/** Combining a vector (per channel, or per channel of each image or sequence) with every row of a tensor. @module */

import {
  addRows,
  type BroadcastShape,
  gateRows,
  modulateRows,
  multiplyRows,
} from "../kernels/broadcast.ts";
import { reduce } from "../kernels/reduce.ts";
import { cast } from "./cast.ts";
import { assertShape, type Operand, sizeOf, type Tensor } from "./tensor.ts";

/** The vector is a scalar, has one element a channel, or one a channel of each batch element. */
function broadcastShape(x: Tensor, vector: Operand, what: string): BroadcastShape {
  const count = sizeOf(vector.shape);
  if (count === 1) return { outer: 1, middle: x.size, inner: 1 };
  const [batch = 1] = x.shape;
  const inner = x.shape.at(-1) ?? 1;
  if (vector.shape.at(-1) === inner) {
    if (count === inner) return { outer: 1, middle: x.size / inner, inner };
    if (count === batch * inner && vector.shape[0] === batch) {
      return { outer: batch, middle: x.size / count, inner };
    }
  }
  throw new TypeError(
    `Cannot use ${what}: expected shape [], [${inner}] or [${batch},${inner}] for x of shape [${x.shape}], found [${vector.shape}]`,
  );
}

/** Sum of `x` over the middle axis, as the gradient of a vector. */
function sumRows(x: Tensor, vector: Operand, shape: BroadcastShape): Tensor {
  const { outer, middle, inner } = shape;
  const total = x.tape.alloc(vector.shape);
  reduce(x.tape.gpu, "sum", { a: x.storage, y: total.storage, outer, length: middle, inner });
  return vector.dtype === "f16" ? cast(total, "f16") : total;
}

/** Sum of `a b` over the middle axis, as the gradient of a vector. */
function sumProducts(a: Tensor, b: Tensor, vector: Operand, shape: BroadcastShape): Tensor {
  const { outer, middle, inner } = shape;
  const total = a.tape.alloc(vector.shape);
  reduce(a.tape.gpu, "sum_products", {
    a: a.storage,
    b: b.storage,
    y: total.storage,
    outer,
    length: middle,
    inner,
  });
  return vector.dtype === "f16" ? cast(total, "f16") : total;
}

/** `x (summand + vector)`, not recorded. */
function scaled(x: Tensor, vector: Operand, shape: BroadcastShape, summand = 0): Tensor {
  const y = x.tape.alloc(x.shape, x.dtype);
  multiplyRows(x.tape.gpu, shape, {
    x: x.storage,
    vector: vector.storage,
    y: y.storage,
    summand,
  });
  return y;
}

/**
 * Adds a vector to every row.
 *
 * @param x Shape (batch, …, channels).
 * @param vector Shape (channels), (batch, channels), (batch, 1, channels), or one element.
 * @returns Shape of `x`.
 * @throws {TypeError} If the vector has another shape.
 */
export function addVector(x: Tensor, vector: Operand): Tensor {
  const shape = broadcastShape(x, vector, "addVector() vector");
  const y = x.tape.alloc(x.shape, x.dtype);
  addRows(x.tape.gpu, shape, { x: x.storage, vector: vector.storage, y: y.storage });
  return x.tape.record("addVector", y, [x, vector], (dy, needs) => [
    dy,
    needs[1] ? sumRows(dy, vector, shape) : undefined,
  ]);
}

/**
 * Multiplies every row by a vector, element by element.
 *
 * @param x Shape (batch, …, channels).
 * @param vector Shape (channels), (batch, channels), (batch, 1, channels), or one element.
 * @returns Shape of `x`.
 * @throws {TypeError} If the vector has another shape.
 */
export function mulVector(x: Tensor, vector: Operand): Tensor {
  const shape = broadcastShape(x, vector, "mulVector() vector");
  return x.tape.record(
    "mulVector",
    scaled(x, vector, shape),
    [x, vector],
    (dy, needs) => [
      needs[0] ? scaled(dy, vector, shape) : undefined,
      needs[1] ? sumProducts(dy, x, vector, shape) : undefined,
    ],
  );
}

/** Vectors of {@linkcode modulate}. */
export interface Modulation {
  /** Shape (channels), (batch, channels) or (batch, 1, channels). */
  scale: Operand;
  /** Same shape as `scale`. */
  shift: Operand;
}

/**
 * Adaptive affine map: `x (1 + scale) + shift`.
 *
 * @param x Shape (batch, …, channels).
 * @param modulation Vectors.
 * @returns Shape of `x`.
 * @throws {TypeError} If the vectors have another shape.
 * @see Peebles & Xie 2023, arXiv:2212.09748, section 3.2.
 */
export function modulate(x: Tensor, modulation: Modulation): Tensor {
  const { scale, shift } = modulation;
  const shape = broadcastShape(x, scale, "modulate() scale");
  assertShape(shift, scale.shape, "modulate() shift");
  const y = x.tape.alloc(x.shape, x.dtype);
  modulateRows(x.tape.gpu, shape, {
    x: x.storage,
    vector: scale.storage,
    shift: shift.storage,
    y: y.storage,
  });
  return x.tape.record("modulate", y, [x, scale, shift], (dy, needs) => [
    needs[0] ? scaled(dy, scale, shape, 1) : undefined,
    needs[1] ? sumProducts(dy, x, scale, shape) : undefined,
    needs[2] ? sumRows(dy, shift, shape) : undefined,
  ]);
}

/**
 * Residual connection with a gate: `base + gamma x`.
 *
 * @param base Shape (batch, …, channels).
 * @param x Same shape.
 * @param gamma Shape (channels), (batch, channels), (batch, 1, channels), or one element.
 * @returns Same shape.
 * @throws {TypeError} If the shapes do not fit.
 * @see Peebles & Xie 2023, arXiv:2212.09748, section 3.2.
 */
export function addGated(base: Tensor, x: Tensor, gamma: Operand): Tensor {
  assertShape(x, base.shape, "addGated() x");
  const shape = broadcastShape(x, gamma, "addGated() gamma");
  const y = x.tape.alloc(x.shape, x.dtype);
  gateRows(x.tape.gpu, shape, {
    x: x.storage,
    vector: gamma.storage,
    base: base.storage,
    y: y.storage,
  });
  return x.tape.record("addGated", y, [base, x, gamma], (dy, needs) => [
    dy,
    needs[1] ? scaled(dy, gamma, shape) : undefined,
    needs[2] ? sumProducts(dy, x, gamma, shape) : undefined,
  ]);
}

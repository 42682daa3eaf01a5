/** Activations and other functions of one element. @module */

import { type Activation, activationBackward, activationForward } from "../kernels/activation.ts";
import type { Tensor } from "./tensor.ts";

function apply(x: Tensor, activation: Activation): Tensor {
  const { tape } = x;
  const y = tape.alloc(x.shape, x.dtype);
  activationForward(tape.gpu, activation, { x: x.storage, y: y.storage });
  return tape.record(activation.name, y, [x], (dy) => {
    const dx = tape.alloc(x.shape, x.dtype);
    activationBackward(tape.gpu, activation, {
      x: x.storage,
      dy: dy.storage,
      dx: dx.storage,
    });
    return [dx];
  });
}

/**
 * Sigmoid linear unit, also called swish: `x / (1 + exp(-x))`.
 *
 * @param x Any shape.
 * @returns Same shape.
 * @see Hendrycks & Gimpel 2016, arXiv:1606.08415.
 */
export function silu(x: Tensor): Tensor {
  return apply(x, { name: "silu" });
}

/**
 * Rectified linear unit with a slope on the negative side: `x` above 0, `slope x` elsewhere. The gradient at 0 is `slope`.
 *
 * @param x Any shape.
 * @param slope Slope at and below 0.
 * @returns Same shape.
 */
export function leakyRelu(x: Tensor, slope: number): Tensor {
  return apply(x, { name: "leakyRelu", alpha: slope });
}

/**
 * Rectified linear unit: `max(x, 0)`. The gradient at 0 is 0.
 *
 * @param x Any shape.
 * @returns Same shape.
 */
export function relu(x: Tensor): Tensor {
  return leakyRelu(x, 0);
}

/**
 * Gaussian error linear unit: `x Φ(x)`, where Φ is the normal distribution function.
 *
 * @param x Any shape.
 * @param options `approximate`: `"none"` (default) for the exact form by erf, `"tanh"` for `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`.
 * @returns Same shape.
 * @see Hendrycks & Gimpel 2016, arXiv:1606.08415.
 */
export function gelu(x: Tensor, options: { approximate?: "none" | "tanh" } = {}): Tensor {
  return apply(x, { name: options.approximate === "tanh" ? "geluTanh" : "geluErf" });
}

/**
 * Logistic function: `1 / (1 + exp(-x))`.
 *
 * @param x Any shape.
 * @returns Same shape, in [0, 1].
 */
export function sigmoid(x: Tensor): Tensor {
  return apply(x, { name: "sigmoid" });
}

/**
 * `log(1 + exp(x))`, and `x` itself above 20, as in PyTorch.
 *
 * @param x Any shape.
 * @returns Same shape.
 */
export function softplus(x: Tensor): Tensor {
  return apply(x, { name: "softplus" });
}

/**
 * Absolute value. The gradient at 0 is 0.
 *
 * @param x Any shape.
 * @returns Same shape.
 */
export function abs(x: Tensor): Tensor {
  return apply(x, { name: "abs" });
}

/**
 * Square of each element.
 *
 * @param x Any shape.
 * @returns Same shape.
 */
export function square(x: Tensor): Tensor {
  return apply(x, { name: "square" });
}

/**
 * Limits each element to an interval. The gradient passes inside, bounds included, and is 0 outside.
 *
 * @param x Any shape.
 * @param options Bounds.
 * @returns Same shape.
 * @throws {RangeError} If `minimum` is above `maximum`.
 */
export function clamp(x: Tensor, options: { minimum: number; maximum: number }): Tensor {
  const { minimum, maximum } = options;
  if (minimum > maximum) {
    throw new RangeError(
      `Cannot clamp: expected a minimum of at most ${maximum}, found ${minimum}`,
    );
  }
  return apply(x, { name: "clamp", alpha: minimum, beta: maximum });
}

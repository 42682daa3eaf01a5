/** The norm of all gradients together, and clipping by it. @module */

import { multiplyRows } from "../kernels/broadcast.ts";
import { clipFactor, globalNorm } from "../kernels/optim.ts";
import type { Operand, Tensor } from "./tensor.ts";

/**
 * Norm of all elements of all gradients together: `sqrt(Σ g²)`. Sums of squares above the range of f32 count as infinite.
 *
 * @param gradients At least one, of one tape.
 * @returns A scalar on their tape.
 * @throws {TypeError} If there is none.
 */
export function gradientNorm(gradients: readonly Tensor[]): Tensor {
  const [first] = gradients;
  if (!first) {
    throw new TypeError(
      "Cannot compute a gradient norm: expected at least one gradient, found none",
    );
  }
  const norm = first.tape.alloc([]);
  globalNorm(first.tape.gpu, gradients.map((gradient) => gradient.storage), norm.storage);
  return norm;
}

/**
 * Scales gradients down so that their common norm is at most `maxNorm`: all are multiplied by `min(1, maxNorm / (norm + 1e-6))`.
 * An optimizer's `clip` option does the same without a copy.
 *
 * @param gradients What `Tape.grad` returned; not changed.
 * @param maxNorm The largest norm.
 * @returns The norm before clipping, a scalar, and the scaled gradients.
 * @throws {TypeError} If there is no gradient.
 * @see PyTorch, torch.nn.utils.clip_grad_norm_.
 */
export function clipGradients(
  gradients: ReadonlyMap<Operand, Tensor>,
  maxNorm: number,
): { norm: Tensor; gradients: Map<Operand, Tensor> } {
  const norm = gradientNorm([...gradients.values()]);
  const { tape } = norm;
  const factor = tape.alloc([]);
  clipFactor(tape.gpu, { norm: norm.storage, factor: factor.storage, maxNorm });
  const clipped = new Map<Operand, Tensor>();
  for (const [operand, gradient] of gradients) {
    const scaled = tape.alloc(gradient.shape);
    multiplyRows(tape.gpu, { outer: 1, middle: gradient.size, inner: 1 }, {
      x: gradient.storage,
      vector: factor.storage,
      y: scaled.storage,
    });
    clipped.set(operand, scaled);
  }
  tape.release(factor);
  return { norm, gradients: clipped };
}

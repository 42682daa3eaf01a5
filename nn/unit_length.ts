/** Division of each position's channels by their length, as LPIPS compares features. @module */

import { unitLengthBackward, unitLengthForward } from "../kernels/unit_length.ts";
import { rowsOf } from "./softmax.ts";
import type { Tensor } from "./tensor.ts";

/**
 * Divides the vectors along the last axis by their length: `x / (sqrt(Σ x²) + eps)`.
 *
 * The length has no derivative at 0: a vector of zeros gets the gradient 0 (the reference: NaN).
 *
 * @param x Shape (…, channels).
 * @param options `eps`, added to the length; default 1e-10.
 * @returns Same shape.
 * @throws {TypeError} If `x` is a scalar.
 * @see Zhang et al. 2018, arXiv:1801.03924, eq. 1; SEED-Voken src/IBQ/modules/losses/lpips.py, `normalize_tensor`.
 */
export function unitLength(x: Tensor, options: { eps?: number } = {}): Tensor {
  const { eps = 1e-10 } = options;
  const shape = { ...rowsOf(x, "unitLength()"), eps };
  const { tape } = x;
  const y = tape.alloc(x.shape, x.dtype);
  const squares = tape.alloc([shape.rows]);
  unitLengthForward(tape.gpu, shape, {
    x: x.storage,
    squares: squares.storage,
    y: y.storage,
  });
  return tape.record("unitLength", y, [x], (dy) => {
    const dx = tape.alloc(x.shape, x.dtype);
    const products = tape.alloc([shape.rows]);
    unitLengthBackward(tape.gpu, shape, {
      x: x.storage,
      squares: squares.storage,
      products: products.storage,
      dy: dy.storage,
      dx: dx.storage,
    });
    tape.release(products);
    return [dx];
  });
}

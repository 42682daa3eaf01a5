/** The gated sigmoid linear unit of feed-forward parts. @module */

import { swigluBackward, swigluForward } from "../kernels/swiglu.ts";
import { assertShape, type Tensor } from "./tensor.ts";

/**
 * Gated sigmoid linear unit: `silu(gate) x`, element by element, in one pass.
 *
 * @param gate Any shape, f32 or f16.
 * @param x Same shape and type.
 * @returns Same shape and type.
 * @throws {TypeError} If the shapes differ.
 * @see Shazeer 2020, arXiv:2002.05202.
 */
export function swiglu(gate: Tensor, x: Tensor): Tensor {
  assertShape(x, gate.shape, "swiglu() x");
  const { tape } = x;
  const y = tape.alloc(x.shape, x.dtype);
  const inputs = { gate: gate.storage, x: x.storage };
  swigluForward(tape.gpu, { ...inputs, y: y.storage });
  return tape.record("swiglu", y, [gate, x], (dy) => {
    const dgate = tape.alloc(x.shape, x.dtype);
    const dx = tape.alloc(x.shape, x.dtype);
    swigluBackward(tape.gpu, {
      ...inputs,
      dy: dy.storage,
      dgate: dgate.storage,
      dx: dx.storage,
    });
    return [dgate, dx];
  });
}

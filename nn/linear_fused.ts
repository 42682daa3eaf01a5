/** Affine maps together with what follows them: one dispatch where rows are few and nothing is recorded, as in decoding. @module */

import { gemv, type GemvOptions, servesGemv } from "../kernels/gemv.ts";
import { addGated } from "./broadcast.ts";
import { linear, type LinearAffine } from "./linear.ts";
import { swiglu } from "./swiglu.ts";
import { assertShape, type Operand, sizeOf, type Tensor } from "./tensor.ts";

/** Runs the product of few rows if it can be one. */
function productOfFewRows(
  x: Tensor,
  weight: Operand,
  others: Pick<GemvOptions, "pair" | "bias" | "gated">,
): Tensor | undefined {
  const { tape } = x;
  const [outputs, inputs] = weight.shape as [number, number];
  assertShape(x, [...x.shape.slice(0, -1), inputs], "a linear map's x");
  if (tape.recording) return undefined;
  const y = tape.alloc([...x.shape.slice(0, -1), outputs], x.dtype);
  const options = {
    x: x.storage,
    weight: tape.narrow(weight, x.dtype).storage,
    y: y.storage,
    rows: x.size / inputs,
    inputs,
    outputs,
    ...others,
  };
  if (servesGemv(tape.gpu, options)) {
    const { pair } = options;
    gemv(tape.gpu, {
      ...options,
      weight: tape.repeated(options.weight),
      pair: pair && tape.repeated(pair),
    });
    return y;
  }
  tape.release(y);
  return undefined;
}

/**
 * Affine map around which there is a residual connection with a gate: `residual + gate (x weight^T + bias)`.
 *
 * @param x Any shape (batch, …, inputs), f32 or f16.
 * @param affine `weight` (outputs, inputs) and, optionally, `bias` (outputs).
 * @param connection `residual`: shape and type of the output; `gate`: a vector as {@linkcode addGated} takes it.
 * @returns Shape (batch, …, outputs), of the type of `x`.
 * @throws {TypeError} If the shapes do not fit.
 */
export function linearGated(
  x: Tensor,
  affine: LinearAffine,
  connection: { residual: Tensor; gate: Operand },
): Tensor {
  const { weight, bias } = affine;
  const { residual, gate } = connection;
  assertShape(residual, [...x.shape.slice(0, -1), weight.shape[0]!], "linearGated() residual");
  // The product takes a gate for each of its rows.
  const fused = sizeOf(gate.shape) === residual.size
    ? productOfFewRows(x, weight, {
      bias: bias?.storage,
      gated: { gate: gate.storage, residual: residual.storage },
    })
    : undefined;
  return fused ?? addGated(residual, linear(x, affine), gate);
}

/**
 * Two linear maps of which one gates the other: `silu(x gate^T) (x weight^T)`, see {@linkcode swiglu}.
 *
 * @param x Any shape (…, inputs), f32 or f16.
 * @param weights `gate` and `weight`: both (outputs, inputs) and of one type.
 * @returns Shape (…, outputs), of the type of `x`.
 * @throws {TypeError} If the shapes do not fit.
 */
export function linearSwiglu(x: Tensor, weights: { gate: Operand; weight: Operand }): Tensor {
  const { gate, weight } = weights;
  assertShape(weight, gate.shape, "linearSwiglu() weight");
  const fused = gate.dtype === weight.dtype
    ? productOfFewRows(x, gate, { pair: x.tape.narrow(weight, x.dtype).storage })
    : undefined;
  return fused ?? swiglu(linear(x, { weight: gate }), linear(x, { weight }));
}

/** Affine maps together with what follows them: one dispatch where rows are few and nothing is recorded, as in decoding. @module */

import { gemv, type GemvOptions, servesGemv } from "../kernels/gemv.ts";
import { addGated, type Modulation } from "./broadcast.ts";
import { linear, type LinearAffine } from "./linear.ts";
import type { RmsNorm } from "./row_norm.ts";
import { swiglu } from "./swiglu.ts";
import { assertShape, type Operand, sizeOf, type Tensor } from "./tensor.ts";

/** Rows that are normalized and modulated before they are multiplied. */
export interface NormedRows {
  /** (batch, …, inputs): what goes into the norm. */
  rows: Tensor;
  /** The norm. */
  norm: RmsNorm;
  /** Scale, less 1, and shift of each image. */
  modulation: Modulation;
}

/** The rows of a product, or what becomes them. */
export type Rows = Tensor | NormedRows;

/**
 * Gives what a norm comes in front of.
 *
 * @param x Rows.
 * @returns The tensor that they are, or are made of.
 */
export function sourceOf(x: Rows): Tensor {
  return "norm" in x ? x.rows : x;
}

function rowsOf(x: Rows): Tensor {
  return "norm" in x ? x.norm.modulated(x.rows, x.modulation) : x;
}

/** Runs the product of few rows if it can be one. */
function productOfFewRows(
  x: Rows,
  weight: Operand,
  others: Pick<GemvOptions, "pair" | "bias" | "gated">,
): Tensor | undefined {
  const source = sourceOf(x);
  const { tape } = source;
  const { gpu } = tape;
  const [outputs, inputs] = weight.shape as [number, number];
  assertShape(source, [...source.shape.slice(0, -1), inputs], "a linear map's x");
  if (tape.recording) return undefined;
  const y = tape.alloc([...source.shape.slice(0, -1), outputs], source.dtype);
  const options = {
    x: source.storage,
    weight: tape.narrow(weight, source.dtype).storage,
    y: y.storage,
    rows: source.size / inputs,
    inputs,
    outputs,
    ...others,
  };
  if (!servesGemv(gpu, options)) {
    tape.release(y);
    return undefined;
  }
  const { pair } = options;
  const product: GemvOptions = {
    ...options,
    weight: tape.repeated(options.weight, inputs),
    pair: pair && tape.repeated(pair, inputs),
  };
  if ("norm" in x) {
    const { weight: normWeight, eps } = x.norm;
    const { scale, shift } = x.modulation;
    const norm = { weight: normWeight.storage, scale: scale.storage, shift: shift.storage, eps };
    // The product takes a modulation for each of its rows.
    if (sizeOf(scale.shape) === source.size && servesGemv(gpu, { ...product, norm })) {
      product.norm = norm;
    } else product.x = rowsOf(x).storage;
  }
  gemv(gpu, product);
  return y;
}

/**
 * Affine map of rows that may be normalized and modulated first: `modulatedRmsNorm(x) weight^T + bias`.
 *
 * @param x The rows, and their norm.
 * @param affine `weight` (outputs, inputs) and, optionally, `bias` (outputs).
 * @returns Shape (batch, …, outputs), of the type of the rows.
 * @throws {TypeError} If the shapes do not fit.
 */
export function linearNormed(x: Rows, affine: LinearAffine): Tensor {
  const { weight, bias } = affine;
  return productOfFewRows(x, weight, { bias: bias?.storage }) ?? linear(rowsOf(x), affine);
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
 * @param x Any shape (…, inputs), f32 or f16; or what is normalized and modulated first.
 * @param weights `gate` and `weight`: both (outputs, inputs) and of one type.
 * @returns Shape (…, outputs), of the type of `x`.
 * @throws {TypeError} If the shapes do not fit.
 */
export function linearSwiglu(
  x: Rows,
  weights: { gate: Operand; weight: Operand },
): Tensor {
  const { gate, weight } = weights;
  assertShape(weight, gate.shape, "linearSwiglu() weight");
  const { tape, dtype } = sourceOf(x);
  const fused = gate.dtype === weight.dtype
    ? productOfFewRows(x, gate, { pair: tape.narrow(weight, dtype).storage })
    : undefined;
  if (fused) return fused;
  const rows = rowsOf(x);
  return swiglu(linear(rows, { weight: gate }), linear(rows, { weight }));
}

/** The affine map of the last axis, and the module that owns its weight. @module */

import { biasGradient } from "../kernels/bias_gradient.ts";
import { gemv, servesGemv } from "../kernels/gemv.ts";
import { matmul } from "../kernels/matmul.ts";
import { type Initializer, Module, type ModuleContext } from "./module.ts";
import { assertShape, type Operand, type Parameter, type Tensor } from "./tensor.ts";

/** Weights of {@linkcode linear}. */
export interface LinearAffine {
  /** Shape (outputs, inputs). */
  weight: Operand;
  /** Shape (outputs). */
  bias?: Operand | undefined;
}

/** What {@linkcode linear} adds to an affine map, in the same dispatch. */
export interface LinearAddition {
  /** Added to the output: shape and type of the output. */
  residual?: Tensor | undefined;
}

/**
 * `y = x weight^T + bias + residual` over the last axis.
 *
 * @param x Any shape (…, inputs), f32 or f16.
 * @param affine `weight` (outputs, inputs), f32 or f16, and, optionally, `bias` (outputs), f32.
 * @param addition The residual, optional.
 * @returns Shape (…, outputs), of the type of `x`.
 * @throws {TypeError} If the shapes do not fit.
 */
export function linear(x: Tensor, affine: LinearAffine, addition: LinearAddition = {}): Tensor {
  const { weight, bias } = affine;
  const { residual } = addition;
  const inputs = x.shape.at(-1);
  const [outputs] = weight.shape;
  if (inputs === undefined || outputs === undefined) {
    throw new TypeError(
      `Cannot run linear(): expected x (…, inputs) and weight (outputs, inputs), found [${x.shape}] and [${weight.shape}]`,
    );
  }
  assertShape(weight, [outputs, inputs], "linear() weight");
  if (bias) assertShape(bias, [outputs], "linear() bias");
  const rows = x.size / Math.max(1, inputs);
  const { tape } = x;
  const { gpu } = tape;
  const { storage: w } = tape.narrow(weight, x.dtype);
  const y = tape.alloc([...x.shape.slice(0, -1), outputs], x.dtype);
  if (residual) assertShape(residual, y.shape, "linear() residual");
  const fewRows = {
    x: x.storage,
    weight: w,
    bias: bias?.storage,
    y: y.storage,
    rows,
    inputs,
    outputs,
  };
  if (!residual && servesGemv(gpu, fewRows)) {
    gemv(gpu, { ...fewRows, weight: tape.repeated(w, inputs) });
  } else {
    matmul(gpu, {
      a: { slice: x.storage },
      b: { slice: w },
      c: { slice: y.storage },
      rows,
      columns: outputs,
      inner: inputs,
      transposeB: true,
      bias: bias?.storage,
      residual: residual?.storage,
    });
  }
  const inputsOf = [x, weight, ...(bias ? [bias] : []), ...(residual ? [residual] : [])];
  return tape.record("linear", y, inputsOf, (dy, needs) => {
    let dx, dweight, dbias: Tensor | undefined;
    if (needs[0]) {
      dx = tape.alloc(x.shape, x.dtype);
      matmul(gpu, {
        a: { slice: dy.storage },
        b: { slice: w },
        c: { slice: dx.storage },
        rows,
        columns: inputs,
        inner: outputs,
      });
    }
    if (needs[1]) {
      dweight = tape.alloc(weight.shape, weight.dtype);
      matmul(gpu, {
        a: { slice: dy.storage },
        b: { slice: x.storage },
        c: { slice: dweight.storage },
        rows: outputs,
        columns: inputs,
        inner: rows,
        transposeA: true,
      });
    }
    if (bias && needs[2]) {
      dbias = tape.alloc([outputs]);
      biasGradient(gpu, { dy: dy.storage, dbias: dbias.storage });
    }
    return [dx, dweight, ...(bias ? [dbias] : []), ...(residual ? [dy] : [])];
  });
}

/** Options of {@linkcode Linear}. */
export interface LinearOptions {
  /** Extent of the last axis of the input. */
  inputs: number;
  /** Extent of the last axis of the output. */
  outputs: number;
  /** Whether a bias is added. Default true. */
  bias?: boolean;
  /** How the weight is drawn. Default: U(±1/√inputs), as PyTorch. */
  initializer?: Initializer;
  /** How the bias is drawn. Default: U(±1/√inputs), as PyTorch. */
  biasInitializer?: Initializer;
}

/** An affine map of the last axis: `weight` (outputs, inputs) and `bias` (outputs). */
export class Linear extends Module implements LinearAffine {
  /** Shape (outputs, inputs). */
  readonly weight: Parameter;
  /** Shape (outputs), unless it was left out. */
  readonly bias: Parameter | undefined;

  /**
   * Makes weight and bias.
   *
   * @param context Makes the parameters.
   * @param options Extents and initial values.
   */
  constructor(context: ModuleContext, options: LinearOptions) {
    super();
    const { inputs, outputs, bias = true } = options;
    const bound = 1 / Math.sqrt(inputs);
    const uniform: Initializer = { kind: "uniform", low: -bound, high: bound };
    const { initializer = uniform, biasInitializer = uniform } = options;
    this.weight = this.register("weight", context.parameter([outputs, inputs], initializer));
    if (bias) this.bias = this.register("bias", context.parameter([outputs], biasInitializer));
  }

  /**
   * Applies the map.
   *
   * @param x Shape (…, inputs).
   * @param addition What is added to the output.
   * @returns Shape (…, outputs).
   */
  forward(x: Tensor, addition: LinearAddition = {}): Tensor {
    return linear(x, this, addition);
  }
}

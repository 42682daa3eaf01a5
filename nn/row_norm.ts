/** Normalization of rows: layer norm and RMS norm over the last axis. @module */

import {
  rowNormAffineGradients,
  rowNormForward,
  rowNormInputGradient,
  rowNormModulationGradients,
} from "../kernels/row_norm.ts";
import type { Modulation } from "./broadcast.ts";
import type { AffineOperands } from "./group_norm.ts";
import { Module, type ModuleContext } from "./module.ts";
import { assertShape, type Operand, type Parameter, sizeOf, type Tensor } from "./tensor.ts";

/** Options of {@linkcode layerNorm} and {@linkcode rmsNorm}. */
export interface RowNormOptions {
  /** Added to the variance or the mean square, in the unit of x². Default 1e-5. */
  eps?: number;
}

/**
 * Normalizes each row to mean 0 and variance 1, then scales and shifts each column.
 *
 * `y = (x - mean) / sqrt(variance + eps) * weight + bias` over the last axis, variance biased.
 *
 * @param x Any shape of at least one axis.
 * @param affine Factor and summand of each column, shape (last axis).
 * @param options Eps.
 * @returns Same shape as `x`.
 * @throws {TypeError} If x is a scalar, or weight or bias not as long as its last axis.
 * @see Ba et al. 2016, arXiv:1607.06450, eq. 4.
 */
export function layerNorm(x: Tensor, affine: AffineOperands, options: RowNormOptions = {}): Tensor {
  return rowNorm("layerNorm", x, { ...affine, ...options });
}

/**
 * Divides each row by its root mean square, then scales each column.
 *
 * `y = x / sqrt(mean(x²) + eps) * weight` over the last axis.
 *
 * @param x Any shape of at least one axis.
 * @param weight Factor of each column, shape (last axis).
 * @param options Eps.
 * @returns Same shape as `x`.
 * @throws {TypeError} If x is a scalar, or weight not as long as its last axis.
 * @see Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4; SEED-Voken src/IBQ/modules/transformer/llama.py, `RMSNorm`.
 */
export function rmsNorm(x: Tensor, weight: Operand, options: RowNormOptions = {}): Tensor {
  return rowNorm("rmsNorm", x, { weight, bias: undefined, ...options });
}

function rowNorm(
  op: "layerNorm" | "rmsNorm",
  x: Tensor,
  options: { weight: Operand; bias: Operand | undefined; eps?: number },
): Tensor {
  const { weight, bias, eps = 1e-5 } = options;
  const width = x.shape.at(-1);
  if (width === undefined) {
    throw new TypeError(`Cannot run ${op}(): expected at least one axis, found a scalar`);
  }
  assertShape(weight, [width], `${op}() weight`);
  if (bias) assertShape(bias, [width], `${op}() bias`);
  const { tape } = x;
  const { gpu } = tape;
  const rows = x.size / width;
  const size = { rows, width, eps, centered: bias !== undefined };
  const y = tape.alloc(x.shape, x.dtype);
  const statistics = tape.alloc([rows, 2]);
  rowNormForward(
    gpu,
    {
      x: x.storage,
      weight: weight.storage,
      bias: bias?.storage,
      statistics: statistics.storage,
      y: y.storage,
    },
    size,
  );
  return tape.record(op, y, bias ? [x, weight, bias] : [x, weight], (dy, needs) => {
    const forward = { dy: dy.storage, x: x.storage, statistics: statistics.storage };
    let dx: Tensor | undefined;
    let dweight: Tensor | undefined;
    let dbias: Tensor | undefined;
    if (needs[0]) {
      dx = tape.alloc(x.shape, x.dtype);
      rowNormInputGradient(gpu, { ...forward, weight: weight.storage, dx: dx.storage }, size);
    }
    if (needs[1] || needs[2]) {
      dweight = tape.alloc([width]);
      dbias = bias && tape.alloc([width]);
      const affine = { dweight: dweight.storage, dbias: dbias?.storage };
      rowNormAffineGradients(gpu, { ...forward, ...affine }, size);
    }
    return [dx, dweight, dbias];
  });
}

/**
 * RMS norm whose result is modulated image by image, in one pass: `rmsNorm(x, weight) (1 + scale) + shift`.
 *
 * @param x Shape (batch, …, channels), f32 or f16.
 * @param weight Factor of each column, shape (channels), f32.
 * @param modulation `scale` and `shift`: (batch, channels) or (batch, 1, channels), in the type of `x`.
 * @param options Eps.
 * @returns Same shape and type as `x`.
 * @throws {TypeError} If weight or vectors have another shape.
 * @see Zhang & Sennrich 2019, arXiv:1910.07467; Peebles & Xie 2023, arXiv:2212.09748, section 3.2.
 */
export function modulatedRmsNorm(
  x: Tensor,
  weight: Operand,
  modulation: Modulation,
  options: RowNormOptions = {},
): Tensor {
  const { scale, shift } = modulation;
  const [images, width] = [x.shape[0], x.shape.at(-1)];
  if (images === undefined || width === undefined || x.shape.length < 2) {
    throw new TypeError(
      `Cannot run modulatedRmsNorm(): expected shape (batch, …, channels), found [${x.shape}]`,
    );
  }
  assertShape(weight, [width], "modulatedRmsNorm() weight");
  if (
    sizeOf(scale.shape) !== images * width || scale.shape[0] !== images ||
    scale.shape.at(-1) !== width
  ) {
    throw new TypeError(
      `Cannot use modulatedRmsNorm() scale: expected shape [${images},${width}], found [${scale.shape}]`,
    );
  }
  assertShape(shift, scale.shape, "modulatedRmsNorm() shift");
  const { tape } = x;
  const { gpu } = tape;
  const rows = x.size / width;
  const size = { rows, width, eps: options.eps ?? 1e-5, centered: false, images };
  const y = tape.alloc(x.shape, x.dtype);
  const statistics = tape.alloc([rows, 2]);
  const read = { x: x.storage, weight: weight.storage, statistics: statistics.storage };
  rowNormForward(gpu, {
    ...read,
    bias: undefined,
    y: y.storage,
    modulation: { scale: scale.storage, shift: shift.storage },
  }, size);
  return tape.record("modulatedRmsNorm", y, [x, weight, scale, shift], (dy, needs) => {
    const dx = needs[0] ? tape.alloc(x.shape, x.dtype) : undefined;
    const backward = { ...read, dy: dy.storage, scale: scale.storage };
    if (dx) rowNormInputGradient(gpu, { ...backward, dx: dx.storage }, size);
    if (!needs[1] && !needs[2] && !needs[3]) return [dx];
    const dweight = tape.alloc([width]);
    const dscale = tape.alloc(scale.shape, scale.dtype);
    const dshift = tape.alloc(shift.shape, shift.dtype);
    rowNormModulationGradients(gpu, {
      ...backward,
      dweight: dweight.storage,
      dscale: dscale.storage,
      dshift: dshift.storage,
    }, size);
    return [dx, dweight, dscale, dshift];
  });
}

/** Sizes of a {@linkcode LayerNorm} or {@linkcode RmsNorm}. */
export interface RowNormConfig extends RowNormOptions {
  /** Length of the last axis. */
  width: number;
}

/** Layer norm with its trained `weight` (initially 1) and `bias` (initially 0). */
export class LayerNorm extends Module {
  /** Factor of each column, shape (width). */
  readonly weight: Parameter;
  /** Summand of each column, shape (width). */
  readonly bias: Parameter;
  readonly #eps: number;

  /**
   * Makes weight and bias.
   *
   * @param context Makes the parameters.
   * @param config Sizes.
   */
  constructor(context: ModuleContext, config: RowNormConfig) {
    super();
    const { width, eps = 1e-5 } = config;
    this.#eps = eps;
    this.weight = this.register(
      "weight",
      context.parameter([width], { kind: "constant", value: 1 }),
    );
    this.bias = this.register("bias", context.parameter([width], { kind: "constant", value: 0 }));
  }

  /**
   * Normalizes; see {@linkcode layerNorm}.
   *
   * @param x Last axis of length width.
   * @returns Same shape.
   */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this, { eps: this.#eps });
  }
}

/** RMS norm with its trained `weight` (initially 1). */
export class RmsNorm extends Module {
  /** Factor of each column, shape (width). */
  readonly weight: Parameter;
  /** Added to the mean square. */
  readonly eps: number;

  /**
   * Makes the weight.
   *
   * @param context Makes the parameters.
   * @param config Sizes.
   */
  constructor(context: ModuleContext, config: RowNormConfig) {
    super();
    const { width, eps = 1e-5 } = config;
    this.eps = eps;
    this.weight = this.register(
      "weight",
      context.parameter([width], { kind: "constant", value: 1 }),
    );
  }

  /**
   * Normalizes; see {@linkcode rmsNorm}.
   *
   * @param x Last axis of length width.
   * @returns Same shape.
   */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, { eps: this.eps });
  }

  /**
   * Normalizes and modulates; see {@linkcode modulatedRmsNorm}.
   *
   * @param x (batch, …, width).
   * @param modulation Scale, less 1, and shift of each image.
   * @returns Same shape.
   */
  modulated(x: Tensor, modulation: Modulation): Tensor {
    return modulatedRmsNorm(x, this.weight, modulation, { eps: this.eps });
  }
}

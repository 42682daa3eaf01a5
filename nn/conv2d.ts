/** Two-dimensional convolution over channels-last activations, and the module that owns its weight. @module */

import { biasGradient } from "../kernels/bias_gradient.ts";
import {
  conv2dForward,
  type Conv2dGeometry,
  conv2dInputGradient,
  conv2dOutputSize,
  conv2dWeightGradient,
} from "../kernels/conv2d.ts";
import { type Initializer, Module, type ModuleContext } from "./module.ts";
import { assertShape, dims, type Operand, type Parameter, type Tensor } from "./tensor.ts";

/** Weights of {@linkcode conv2d}. */
export interface Conv2dAffine {
  /** Shape (kernelHeight, kernelWidth, inputs, outputs). */
  weight: Operand;
  /** Shape (outputs). */
  bias?: Operand | undefined;
}

/** Zeros around an image, in pixels: on every side, or (top, bottom, left, right). */
export type Padding = number | readonly [top: number, bottom: number, left: number, right: number];

/** Options of {@linkcode conv2d}. */
export interface Conv2dOptions {
  /** Distance of neighboring kernel positions along both axes, in pixels of the input. Default 1. */
  stride?: number;
  /** Zeros around the input. Default 0. */
  padding?: Padding;
}

/** What {@linkcode conv2d} adds to a convolution, in the same dispatch. */
export interface Conv2dAddition {
  /** Added to the output: shape and type of the output. */
  residual?: Tensor | undefined;
}

/**
 * Two-dimensional convolution (cross-correlation, as in PyTorch):
 * `y[n, i, j, o] = bias[o] + residual[n, i, j, o] + Σ x[n, i stride + ky - top, j stride + kx - left, c] weight[ky, kx, c, o]`.
 *
 * @param x Activations, shape (batch, height, width, inputs), f32 or f16.
 * @param affine `weight` (kernelHeight, kernelWidth, inputs, outputs), f32 or f16, and, optionally, `bias` (outputs), f32.
 * @param options Stride, padding and residual.
 * @returns Shape (batch, outHeight, outWidth, outputs), of the type of `x`.
 * @throws {TypeError} If the shapes do not fit.
 * @throws {RangeError} If stride or padding is no such whole number, or the kernel is larger than the padded input.
 */
export function conv2d(
  x: Tensor,
  affine: Conv2dAffine,
  options: Conv2dOptions & Conv2dAddition = {},
): Tensor {
  const { weight, bias } = affine;
  const { batch, height, width, inputs } = dims(x, "batch height width inputs", "conv2d()");
  const { kernelHeight, kernelWidth, outputs } = dims(
    weight,
    "kernelHeight kernelWidth inputs outputs",
    "conv2d() weight",
  );
  assertShape(weight, [kernelHeight, kernelWidth, inputs, outputs], "conv2d() weight");
  if (bias) assertShape(bias, [outputs], "conv2d() bias");
  const { stride = 1, padding = 0, residual } = options;
  const geometry: Conv2dGeometry = {
    batch,
    height,
    width,
    inputs,
    outputs,
    kernel: [kernelHeight, kernelWidth],
    stride,
    padding: typeof padding === "number" ? [padding, padding, padding, padding] : padding,
  };
  assertWhole(stride, 1, "stride");
  for (const pad of geometry.padding) assertWhole(pad, 0, "padding");
  const { outHeight, outWidth } = conv2dOutputSize(geometry);
  if (outHeight < 1 || outWidth < 1) {
    throw new RangeError(
      `Cannot run conv2d(): expected an input of at least ${kernelHeight}x${kernelWidth} pixels with its padding, found [${x.shape}] and padding [${geometry.padding}]`,
    );
  }
  const { tape } = x;
  const { gpu } = tape;
  const { storage: w } = tape.narrow(weight, x.dtype);
  const y = tape.alloc([batch, outHeight, outWidth, outputs], x.dtype);
  if (residual) assertShape(residual, y.shape, "conv2d() residual");
  conv2dForward(
    gpu,
    {
      x: x.storage,
      weight: w,
      bias: bias?.storage,
      residual: residual?.storage,
      y: y.storage,
    },
    geometry,
  );
  const inputsOf = [x, weight, ...(bias ? [bias] : []), ...(residual ? [residual] : [])];
  return tape.record("conv2d", y, inputsOf, (dy, needs) => {
    let dx, dweight, dbias: Tensor | undefined;
    if (needs[0]) {
      dx = tape.alloc(x.shape, x.dtype);
      conv2dInputGradient(
        gpu,
        { dy: dy.storage, weight: w, dx: dx.storage },
        geometry,
      );
    }
    if (needs[1]) {
      dweight = tape.alloc(weight.shape, weight.dtype);
      conv2dWeightGradient(
        gpu,
        { x: x.storage, dy: dy.storage, dweight: dweight.storage },
        geometry,
      );
    }
    if (bias && needs[2]) {
      dbias = tape.alloc([outputs]);
      biasGradient(gpu, { dy: dy.storage, dbias: dbias.storage });
    }
    return [dx, dweight, ...(bias ? [dbias] : []), ...(residual ? [dy] : [])];
  });
}

function assertWhole(value: number, least: number, what: string): void {
  if (!Number.isInteger(value) || value < least) {
    throw new RangeError(
      `Cannot run conv2d(): expected ${what} of at least ${least}, a whole number, found ${value}`,
    );
  }
}

/** Options of {@linkcode Conv2d}. */
export interface Conv2dModuleOptions extends Conv2dOptions {
  /** Channels of the input. */
  inputs: number;
  /** Channels of the output. */
  outputs: number;
  /** Extent of the kernel, or (height, width), in pixels. */
  kernel: number | readonly [height: number, width: number];
  /** Whether a bias is added. Default true. */
  bias?: boolean;
  /** How the weight is drawn. Default: U(±1/√fan-in), fan-in = inputs kernelHeight kernelWidth, as PyTorch. */
  initializer?: Initializer;
  /** How the bias is drawn. Default: U(±1/√fan-in), as PyTorch. */
  biasInitializer?: Initializer;
}

/** A convolution: `weight` (kernelHeight, kernelWidth, inputs, outputs), in files (outputs, inputs, kernelHeight, kernelWidth), and `bias` (outputs). */
export class Conv2d extends Module implements Conv2dAffine {
  /** Shape (kernelHeight, kernelWidth, inputs, outputs). */
  readonly weight: Parameter;
  /** Shape (outputs), unless it was left out. */
  readonly bias: Parameter | undefined;
  readonly #options: Conv2dOptions;

  /**
   * Makes weight and bias.
   *
   * @param context Makes the parameters.
   * @param options Extents, stride, padding and initial values.
   */
  constructor(context: ModuleContext, options: Conv2dModuleOptions) {
    super();
    const { inputs, outputs, kernel, stride = 1, padding = 0, bias = true } = options;
    const [kernelHeight, kernelWidth] = typeof kernel === "number" ? [kernel, kernel] : kernel;
    const bound = 1 / Math.sqrt(inputs * kernelHeight * kernelWidth);
    const uniform: Initializer = { kind: "uniform", low: -bound, high: bound };
    const { initializer = uniform, biasInitializer = uniform } = options;
    this.#options = { stride, padding };
    this.weight = this.register(
      "weight",
      context.parameter([kernelHeight, kernelWidth, inputs, outputs], initializer, {
        filePermutation: [2, 3, 1, 0],
      }),
    );
    if (bias) this.bias = this.register("bias", context.parameter([outputs], biasInitializer));
  }

  /**
   * Applies the convolution.
   *
   * @param x Shape (batch, height, width, inputs).
   * @param addition What is added to the output.
   * @returns Shape (batch, outHeight, outWidth, outputs).
   */
  forward(x: Tensor, addition: Conv2dAddition = {}): Tensor {
    return conv2d(x, this, { ...this.#options, ...addition });
  }
}

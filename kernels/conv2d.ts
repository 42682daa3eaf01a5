/** Two-dimensional convolution over channels-last activations and its gradients, as implicit matrix products. @module */

import {
  CONV2D_FORWARD,
  CONV2D_INPUT_GRADIENT,
  conv2dWeightGradientAddressing,
} from "./conv2d_addressing.ts";
import {
  activation,
  clampSpan,
  type Conv2dGeometry,
  conv2dOutputSize,
  inputLines,
  isPointwise,
  type Part,
  partsOf,
  type Pass,
  runPart,
  tapIterations,
  weights,
} from "./conv2d_parts.ts";
import type { Gpu } from "./gpu.ts";
import { requireIterations } from "./loop_limit.ts";
import { matmul } from "./matmul.ts";
import type { ProductForm } from "./matmul_form.ts";
import { shareCount, type Tile, tileColumns, tileRows } from "./matmul_tile.ts";
import { addShares } from "./matmul_shares.ts";
import { beginsVector } from "./matmul_window.ts";
import { elementCount, type Slice, subslice } from "./slice.ts";

export { type Conv2dGeometry, conv2dOutputSize } from "./conv2d_parts.ts";

/** How the product of a convolution is divided among workgroups and lanes. */
export interface Conv2dTiling {
  /** Default: chosen by shape and adapter. */
  tile?: Tile;
}

/** Whether operands of these channels can be loaded four at a time. */
function byFour(slice: Slice, channels: number): boolean {
  return channels % 4 === 0 && beginsVector(slice);
}

function halvesOf(...operands: [a: Slice, b: Slice, c: Slice]): [boolean, boolean, boolean] {
  const [a, b, c] = operands;
  return [a.half ?? false, b.half ?? false, c.half ?? false];
}

/**
 * `y = conv(x, weight) + bias + residual`. Each is f32 or f16 for itself, but `bias` is f32 and `residual` is as `y`.
 *
 * @param gpu The device.
 * @param buffers `x` (batch, height, width, inputs), `weight` (kernelHeight, kernelWidth, inputs, outputs), `bias` (outputs), `residual` (as
 * `y`) and, written, `y` (batch, outHeight, outWidth, outputs).
 * @param geometry Sizes.
 * @param options How the product is divided.
 * @throws {GpuMemoryError} If not even one line of an image fits a binding.
 * @throws {RangeError} If the loops are too long for a software adapter.
 */
export function conv2dForward(
  gpu: Gpu,
  buffers: {
    x: Slice;
    weight: Slice;
    bias?: Slice | undefined;
    residual?: Slice | undefined;
    y: Slice;
  },
  geometry: Conv2dGeometry,
  options: Conv2dTiling = {},
): void {
  const { x, weight, bias, residual, y } = buffers;
  const { batch, height, width, inputs, outputs, kernel } = geometry;
  if (isPointwise(geometry)) {
    matmul(gpu, {
      a: { slice: x },
      b: { slice: weight },
      c: { slice: y },
      rows: batch * height * width,
      columns: outputs,
      inner: inputs,
      bias,
      residual,
      ...options,
    });
    return;
  }
  const iterations = tapIterations(geometry, inputs, byFour(x, inputs));
  requireIterations(gpu, CONV2D_FORWARD.name, iterations);
  const { outHeight, outWidth } = conv2dOutputSize(geometry);
  const tile = options.tile ?? gpu.tiles.choose({
    kind: "conv2d_forward",
    shape: {
      rows: batch * outHeight * outWidth,
      columns: outputs,
      inner: kernel[0] * kernel[1] * inputs,
      batch: 1,
      bAlong: "columns",
    },
    half: halvesOf(x, weight, y),
    geometry,
  }, gpu.adapter);
  const input = { height, width, channels: inputs };
  const output = { height: outHeight, width: outWidth, channels: outputs };
  const pass: Pass = {
    addressing: CONV2D_FORWARD,
    geometry,
    a: activation(x, input, ({ lines }) => inputLines(geometry, lines)),
    b: weights(weight, geometry),
    c: activation(y, output, ({ lines }) => lines),
    bias,
    residual: residual && activation(residual, output, ({ lines }) => lines),
    tile,
    form: {
      aAlong: "inner",
      bAlong: "columns",
      aVector: byFour(x, inputs),
      bVector: byFour(weight, outputs) && tile.columns % 4 === 0,
      cVector: byFour(y, outputs) && tile.columns % 4 === 0 &&
        (!residual || beginsVector(residual)),
      bias: bias !== undefined,
      residual: residual !== undefined,
      accumulate: false,
      aTexels: false,
      bTexels: false,
      aHalf: x.half ?? false,
      bHalf: weight.half ?? false,
      cHalf: y.half ?? false,
    },
    lines: outHeight,
    grid: ({ images, lines }) => ({
      rows: (images[1] - images[0]) * (lines[1] - lines[0]) * outWidth,
      columns: outputs,
      products: 1,
    }),
    params: () => ({}),
  };
  for (const part of partsOf(gpu, pass)) runPart(gpu, pass, part);
}

/**
 * Gradient of a convolution by its input.
 *
 * @param gpu The device.
 * @param buffers `dy` (batch, outHeight, outWidth, outputs), `weight` (kernelHeight, kernelWidth, inputs, outputs) and, written, `dx`
 * (batch, height, width, inputs).
 * @param geometry Sizes.
 * @param options How the product is divided.
 * @throws {GpuMemoryError} If not even one line of an image fits a binding.
 * @throws {RangeError} If the loops are too long for a software adapter.
 */
export function conv2dInputGradient(
  gpu: Gpu,
  buffers: { dy: Slice; weight: Slice; dx: Slice },
  geometry: Conv2dGeometry,
  options: Conv2dTiling = {},
): void {
  const { dy, weight, dx } = buffers;
  const { batch, height, width, inputs, outputs, stride, padding, kernel } = geometry;
  if (isPointwise(geometry)) {
    matmul(gpu, {
      a: { slice: dy },
      b: { slice: weight },
      c: { slice: dx },
      rows: batch * height * width,
      columns: inputs,
      inner: outputs,
      transposeB: true,
      ...options,
    });
    return;
  }
  const vectors = byFour(dy, outputs) || byFour(weight, outputs);
  const iterations = tapIterations(geometry, outputs, vectors);
  requireIterations(gpu, CONV2D_INPUT_GRADIENT.name, iterations);
  const { outHeight, outWidth } = conv2dOutputSize(geometry);
  const phaseHeight = Math.ceil(height / stride);
  const phaseWidth = Math.ceil(width / stride);
  const tile = options.tile ?? gpu.tiles.choose({
    kind: "conv2d_input_gradient",
    shape: {
      rows: batch * phaseHeight * phaseWidth,
      columns: inputs,
      inner: Math.ceil(kernel[0] * kernel[1] / stride ** 2) * outputs,
      batch: stride ** 2,
    },
    half: halvesOf(dy, weight, dx),
    geometry,
  }, gpu.adapter);
  const input = { height, width, channels: inputs };
  const output = { height: outHeight, width: outWidth, channels: outputs };
  const pass: Pass = {
    addressing: CONV2D_INPUT_GRADIENT,
    geometry,
    a: activation(dy, output, ({ lines: [begin, end] }) =>
      clampSpan(
        Math.floor((begin * stride + padding[0] - kernel[0] + 1) / stride),
        Math.floor((end * stride - 1 + padding[0]) / stride) + 1,
        outHeight,
      )),
    b: weights(weight, geometry),
    c: activation(
      dx,
      input,
      ({ lines: [begin, end] }) => clampSpan(begin * stride, end * stride, height),
    ),
    tile,
    form: {
      aAlong: "inner",
      bAlong: "inner",
      aVector: byFour(dy, outputs),
      bVector: byFour(weight, outputs),
      cVector: byFour(dx, inputs) && tile.columns % 4 === 0,
      bias: false,
      residual: false,
      accumulate: false,
      aTexels: false,
      bTexels: false,
      aHalf: dy.half ?? false,
      bHalf: weight.half ?? false,
      cHalf: dx.half ?? false,
    },
    lines: phaseHeight,
    grid: ({ images, lines }) => ({
      rows: (images[1] - images[0]) * (lines[1] - lines[0]) * phaseWidth,
      columns: inputs,
      products: stride * stride,
    }),
    params: () => ({ phaseWidth }),
  };
  for (const part of partsOf(gpu, pass)) runPart(gpu, pass, part);
}

/**
 * Gradient of a convolution by its weight. The pixels are divided into shares, whose partial sums are then added: always in the same
 * order.
 *
 * @param gpu The device.
 * @param buffers `x` (batch, height, width, inputs), `dy` (batch, outHeight, outWidth, outputs) and, written, `dweight` (kernelHeight,
 * kernelWidth, inputs, outputs).
 * @param geometry Sizes.
 * @param options How the product is divided.
 * @throws {GpuMemoryError} If not even one line of an image fits a binding.
 * @throws {RangeError} If the loops are too long for a software adapter.
 */
export function conv2dWeightGradient(
  gpu: Gpu,
  buffers: { x: Slice; dy: Slice; dweight: Slice },
  geometry: Conv2dGeometry,
  options: Conv2dTiling = {},
): void {
  const { x, dy, dweight } = buffers;
  const { batch, height, width, inputs, outputs, kernel } = geometry;
  if (isPointwise(geometry)) {
    matmul(gpu, {
      a: { slice: x },
      b: { slice: dy },
      c: { slice: dweight },
      rows: inputs,
      columns: outputs,
      inner: batch * height * width,
      transposeA: true,
      ...options,
    });
    return;
  }
  const { outHeight, outWidth } = conv2dOutputSize(geometry);
  const taps = kernel[0] * kernel[1];
  const size = taps * inputs * outputs;
  const rows = taps * inputs;
  const tile = options.tile ?? gpu.tiles.choose({
    kind: "conv2d_weight_gradient",
    shape: {
      rows,
      columns: outputs,
      inner: batch * outHeight * outWidth,
      batch: 1,
      bAlong: "columns",
    },
    half: halvesOf(x, dy, dweight),
    geometry,
  }, gpu.adapter);
  const workgroups = Math.ceil(rows / tileRows(tile)) * Math.ceil(outputs / tileColumns(tile));
  const linesOf = ({ images, lines }: Part): number =>
    (images[1] - images[0]) * (lines[1] - lines[0]);
  const shares = (part: Part): number => {
    const allLines = linesOf(part);
    return Math.min(allLines, shareCount(allLines * outWidth, workgroups, gpu.adapter));
  };
  const input = { height, width, channels: inputs };
  const output = { height: outHeight, width: outWidth, channels: outputs };
  const form: ProductForm = {
    aAlong: "rows",
    bAlong: "columns",
    aVector: byFour(x, inputs) && tile.rows % 4 === 0,
    bVector: byFour(dy, outputs) && tile.columns % 4 === 0,
    cVector: byFour(dweight, outputs) && tile.columns % 4 === 0,
    bias: false,
    residual: false,
    accumulate: false,
    aTexels: false,
    bTexels: false,
    aHalf: x.half ?? false,
    bHalf: dy.half ?? false,
    cHalf: false,
  };
  const pass = (target: Slice, shares: (part: Part) => number, accumulate: boolean): Pass => ({
    addressing: conv2dWeightGradientAddressing(form),
    geometry,
    a: activation(x, input, ({ lines }) => inputLines(geometry, lines)),
    b: activation(dy, output, ({ lines }) => lines),
    c: {
      slice: target,
      lineSize: elementCount(target),
      imageLines: 0,
      lines: () => [0, 1],
    },
    tile,
    form: { ...form, accumulate, cHalf: target.half ?? false },
    lines: outHeight,
    grid: (part) => ({ rows, columns: outputs, products: shares(part) }),
    iterations: (part) => Math.ceil(linesOf(part) / shares(part)) * (outWidth + 1),
    params: (part) => ({ images: part.images[1] - part.images[0], shares: shares(part) }),
  });
  const parts = partsOf(gpu, pass(dweight, shares, false));
  const slots = parts.reduce((sum, part) => sum + shares(part), 0);
  if (slots === 1 || 4 * slots * size > gpu.maxBindingBytes) {
    const whole = (accumulate: boolean): Pass => pass(dweight, () => 1, accumulate);
    for (const [i, part] of partsOf(gpu, whole(false)).entries()) runPart(gpu, whole(i > 0), part);
    return;
  }
  const sums = gpu.acquire(4 * slots * size, "partial sums of a weight gradient");
  let slot = 0;
  for (const part of parts) {
    const target = subslice(sums, 4 * slot * size, 4 * shares(part) * size);
    runPart(gpu, pass(target, shares, false), part);
    slot += shares(part);
  }
  addShares(gpu, { sums, y: dweight, slots });
  gpu.release(sums);
}

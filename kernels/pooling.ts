/** Launchers of pooling.wgsl: maximum and average over windows, and their gradients. @module */

import type { Gpu } from "./gpu.ts";
import { MOST_ITERATIONS, requireIterations } from "./loop_limit.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import source from "./pooling.wgsl" with { type: "text" };
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = definePackedKernel("pooling", source);

/** A pair of extents. */
export interface Extent2d {
  /** Along the rows of the image, downwards. */
  height: number;
  /** Along its columns. */
  width: number;
}

/** Extents of a pooling. */
export interface PoolingSize {
  /** Images. */
  batch: number;
  /** Channels. */
  channels: number;
  /** Positions of the input. */
  input: Extent2d;
  /** Positions of the output. */
  output: Extent2d;
  /** Positions of a window. */
  window: Extent2d;
  /** Distance of two windows. */
  stride: Extent2d;
  /** Positions added on each side; below the window's. */
  padding: Extent2d;
  /** What is taken of a window; the averages differ in whether padded positions count in the divisor. */
  kind: "maximum" | "average" | "averageWithoutPadding";
}

/** Loop iterations over a window. */
function windowIterations({ input, window }: PoolingSize): number {
  return Math.min(window.height, input.height) * (Math.min(window.width, input.width) + 1);
}

/** Loop iterations over the windows that hold a position, and over each of them for a maximum. */
function gradientIterations(size: PoolingSize): number {
  const { output, window, stride, kind } = size;
  const rows = Math.min(output.height, Math.ceil(window.height / stride.height));
  const columns = Math.min(output.width, Math.ceil(window.width / stride.width));
  return rows * (1 + columns * (1 + (kind === "maximum" ? windowIterations(size) : 0)));
}

function launch(
  gpu: Gpu,
  buffers: Record<string, Slice>,
  size: PoolingSize,
  backward: boolean,
): void {
  const { batch, channels, input, output, window, stride, padding, kind } = size;
  const { kernel: chosen, packs } = packFor(kernel, channels);
  const entryPoint = (kind === "maximum" ? "maximum" : "average") + (backward ? "_gradient" : "");
  const bytes = elementBytes(Object.values(buffers)[0]!);
  const inputBytes = bytes * channels * input.height * input.width;
  const outputBytes = bytes * channels * output.height * output.width;
  const bytesOf: Record<string, number> = {
    x: inputBytes,
    dx: inputBytes,
    y: outputBytes,
    dy: outputBytes,
  };
  const lanes = packs *
    (backward ? input.height * input.width : output.height * output.width);
  const rowBytes = [inputBytes, outputBytes];
  const operation = `pooling.${entryPoint}`;
  requireIterations(gpu, operation, backward ? gradientIterations(size) : windowIterations(size));
  for (const range of splitRows(gpu, batch, { rowBytes, operation })) {
    const parts: Record<string, Slice> = {};
    for (const name in buffers) parts[name] = sliceRows(buffers[name]!, range, bytesOf[name]!);
    gpu.run(chosen, entryPoint, {
      buffers: parts,
      params: {
        batch: range.count,
        height: input.height,
        width: input.width,
        packs,
        output_height: output.height,
        output_width: output.width,
        kernel_height: window.height,
        kernel_width: window.width,
        stride_y: stride.height,
        stride_x: stride.width,
        padding_y: padding.height,
        padding_x: padding.width,
      },
      constants: { INCLUDE_PADDING: kind === "average" ? 1 : 0 },
      threads: range.count * lanes,
    });
  }
}

/**
 * Maximum or average of each window.
 *
 * @param gpu The device.
 * @param buffers `x`, channels last; `y` is written.
 * @param size Extents and kind.
 */
export function poolingForward(gpu: Gpu, buffers: { x: Slice; y: Slice }, size: PoolingSize): void {
  const { batch, channels, input, output, window, stride, padding } = size;
  if (windowIterations(size) <= MOST_ITERATIONS) {
    launch(gpu, { ...buffers }, size, false);
    return;
  }
  // Both maxima and averages separate into one along the rows and one along the columns.
  const between = { height: input.height, width: output.width };
  const { half = false } = buffers.x;
  const elements = batch * channels * between.height * between.width;
  const lines = { ...gpu.acquire(elementBytes(buffers.x) * elements, "pooled lines"), half };
  launch(gpu, { x: buffers.x, y: lines }, {
    ...size,
    output: between,
    window: { height: 1, width: window.width },
    stride: { height: 1, width: stride.width },
    padding: { height: 0, width: padding.width },
  }, false);
  launch(gpu, { x: lines, y: buffers.y }, {
    ...size,
    input: between,
    window: { height: window.height, width: 1 },
    stride: { height: stride.height, width: 1 },
    padding: { height: padding.height, width: 0 },
  }, false);
  gpu.release(lines);
}

/**
 * Gradient of {@linkcode poolingForward} by x. A maximum passes it to its first place in row-major order.
 *
 * @param gpu The device.
 * @param buffers `dy`; `x` as in the forward pass; `dx` is written.
 * @param size Extents and kind.
 */
export function poolingBackward(
  gpu: Gpu,
  buffers: { dy: Slice; x: Slice; dx: Slice },
  size: PoolingSize,
): void {
  const { x, dy, dx } = buffers;
  // An average's gradient does not depend on its input.
  launch(gpu, size.kind === "maximum" ? { x, dy, dx } : { dy, dx }, size, true);
}

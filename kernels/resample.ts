/** Launchers of resample.wgsl: nearest doubling and bilinear resizing of images, and their gradients. @module */

import type { Gpu } from "./gpu.ts";
import { requireIterations } from "./loop_limit.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import type { Extent2d } from "./pooling.ts";
import source from "./resample.wgsl" with { type: "text" };
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = definePackedKernel("resample", source);

/** Extents of a resampling. */
export interface ResampleSize {
  /** Images. */
  batch: number;
  /** Channels. */
  channels: number;
  /** Positions of the input. */
  input: Extent2d;
  /** Positions of the output. */
  output: Extent2d;
}

/** Output places that may read an input place along an axis, at most. */
function readers(extent: number, outputExtent: number): number {
  return Math.min(outputExtent, 2 * Math.ceil(outputExtent / extent) + 5);
}

function launch(
  gpu: Gpu,
  entryPoint: "double" | "double_gradient" | "bilinear" | "bilinear_gradient",
  buffers: { read: Slice; written: Slice },
  size: ResampleSize,
): void {
  const { channels, input, output } = size;
  const backward = entryPoint.endsWith("gradient");
  // Doubling maps each line of the input to two of the output, so that it can be cut within an image.
  const lines = entryPoint.startsWith("double") ? input.height : 1;
  const pixelBytes = elementBytes(buffers.read) * channels;
  const inputBytes = pixelBytes * input.height * input.width / lines;
  const outputBytes = pixelBytes * output.height * output.width / lines;
  const [readBytes, writtenBytes] = backward
    ? [outputBytes, inputBytes] as const
    : [inputBytes, outputBytes] as const;
  const { kernel: chosen, packs } = packFor(kernel, channels);
  const operation = `resample.${entryPoint}`;
  if (entryPoint === "bilinear_gradient") {
    const iterations = readers(input.height, output.height) *
      (readers(input.width, output.width) + 1);
    requireIterations(gpu, operation, iterations);
  }
  const rowBytes = [inputBytes, outputBytes];
  for (const range of splitRows(gpu, size.batch * lines, { rowBytes, operation })) {
    const read = sliceRows(buffers.read, range, readBytes);
    const written = sliceRows(buffers.written, range, writtenBytes);
    const count = range.count * writtenBytes / pixelBytes * packs;
    gpu.run(chosen, entryPoint, {
      buffers: backward ? { dy: read, dx: written } : { x: read, y: written },
      params: {
        count,
        packs,
        height: input.height,
        width: input.width,
        output_height: output.height,
        output_width: output.width,
      },
      threads: count,
    });
  }
}

/**
 * Repeats each position twice along both axes.
 *
 * @param gpu The device.
 * @param buffers `x`, channels last; `y` is written.
 * @param size Extents; the output's are twice the input's.
 */
export function doubleForward(gpu: Gpu, buffers: { x: Slice; y: Slice }, size: ResampleSize): void {
  launch(gpu, "double", { read: buffers.x, written: buffers.y }, size);
}

/**
 * Gradient of {@linkcode doubleForward}: sums of four.
 *
 * @param gpu The device.
 * @param buffers `dy`; `dx` is written.
 * @param size Extents.
 */
export function doubleBackward(
  gpu: Gpu,
  buffers: { dy: Slice; dx: Slice },
  size: ResampleSize,
): void {
  launch(gpu, "double_gradient", { read: buffers.dy, written: buffers.dx }, size);
}

/**
 * Interpolates between the four nearest pixel centers, without antialiasing.
 *
 * @param gpu The device.
 * @param buffers `x`, channels last; `y` is written.
 * @param size Extents.
 */
export function bilinearForward(
  gpu: Gpu,
  buffers: { x: Slice; y: Slice },
  size: ResampleSize,
): void {
  launch(gpu, "bilinear", { read: buffers.x, written: buffers.y }, size);
}

/**
 * Gradient of {@linkcode bilinearForward}.
 *
 * @param gpu The device.
 * @param buffers `dy`; `dx` is written.
 * @param size Extents.
 */
export function bilinearBackward(
  gpu: Gpu,
  buffers: { dy: Slice; dx: Slice },
  size: ResampleSize,
): void {
  launch(gpu, "bilinear_gradient", { read: buffers.dy, written: buffers.dx }, size);
}

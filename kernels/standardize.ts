/** Launchers of standardize.wgsl: a fixed affine map of each channel, and its gradient. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";
import source from "./standardize.wgsl" with { type: "text" };

const kernel = defineKernel("standardize", common, source);

function launch(
  gpu: Gpu,
  entryPoint: "forward" | "backward",
  operands: { rows: Record<string, Slice>; whole: Record<string, Slice> },
  size: { rows: number; channels: number },
): void {
  const { rows, channels } = size;
  const rowBytes = elementBytes(Object.values(operands.rows)[0]!) * channels;
  const operation = `standardize.${entryPoint}`;
  for (const range of splitRows(gpu, rows, { rowBytes: [rowBytes], operation })) {
    const buffers: Record<string, Slice> = { ...operands.whole };
    for (const [name, slice] of Object.entries(operands.rows)) {
      buffers[name] = sliceRows(slice, range, rowBytes);
    }
    const count = range.count * channels;
    gpu.run(kernel, entryPoint, {
      buffers,
      params: { count, channels },
      threads: count,
    });
  }
}

/**
 * `y = (x - shift) / scale`, channel by channel.
 *
 * @param gpu The device.
 * @param buffers `x` and `y` (rows, channels), `shift` and `scale` (channels).
 * @param size Extents.
 */
export function standardizeForward(
  gpu: Gpu,
  buffers: Record<"x" | "shift" | "scale" | "y", Slice>,
  size: { rows: number; channels: number },
): void {
  const { x, shift, scale, y } = buffers;
  launch(gpu, "forward", { rows: { x, y }, whole: { shift, scale } }, size);
}

/**
 * Gradient of {@linkcode standardizeForward} by x: `dx = dy / scale`.
 *
 * @param gpu The device.
 * @param buffers `dy` and `dx` (rows, channels), `scale` (channels).
 * @param size Extents.
 */
export function standardizeBackward(
  gpu: Gpu,
  buffers: Record<"dy" | "scale" | "dx", Slice>,
  size: { rows: number; channels: number },
): void {
  const { dy, scale, dx } = buffers;
  launch(gpu, "backward", { rows: { dy, dx }, whole: { scale } }, size);
}

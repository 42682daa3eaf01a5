/** Resampling of images: nearest doubling and bilinear resizing. @module */

import type { Extent2d } from "../kernels/pooling.ts";
import {
  bilinearBackward,
  bilinearForward,
  doubleBackward,
  doubleForward,
} from "../kernels/resample.ts";
import { dims, type Tensor } from "./tensor.ts";

/**
 * Doubles height and width by repeating each position (nearest neighbor).
 *
 * @param x Images, shape (batch, height, width, channels).
 * @returns Shape (batch, 2 height, 2 width, channels).
 * @throws {TypeError} If x does not have four axes.
 * @see SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `Upsample`.
 */
export function upsampleNearest2(x: Tensor): Tensor {
  const axes = dims(x, "batch height width channels", "upsampleNearest2()");
  const { batch, height, width, channels } = axes;
  const output = { height: 2 * height, width: 2 * width };
  const size = { batch, channels, input: { height, width }, output };
  const { tape } = x;
  const y = tape.alloc([batch, output.height, output.width, channels], x.dtype);
  doubleForward(tape.gpu, { x: x.storage, y: y.storage }, size);
  return tape.record("upsampleNearest2", y, [x], (dy) => {
    const dx = tape.alloc(x.shape, x.dtype);
    doubleBackward(tape.gpu, { dy: dy.storage, dx: dx.storage }, size);
    return [dx];
  });
}

/**
 * Resizes by interpolation between the four nearest pixel centers, without antialiasing (`align_corners=False` in PyTorch).
 *
 * @param x Images, shape (batch, height, width, channels).
 * @param output Height and width of the result, at least 1.
 * @returns Shape (batch, output.height, output.width, channels).
 * @throws {TypeError} If x does not have four axes.
 * @throws {RangeError} If an output extent is not a positive integer.
 */
export function resizeBilinear(x: Tensor, output: Extent2d): Tensor {
  const axes = dims(x, "batch height width channels", "resizeBilinear()");
  const { batch, height, width, channels } = axes;
  for (const extent of [output.height, output.width]) {
    if (!(Number.isInteger(extent) && extent >= 1)) {
      throw new RangeError(
        `Cannot run resizeBilinear(): expected extents of at least 1, found ${output.height}x${output.width}`,
      );
    }
  }
  const size = { batch, channels, input: { height, width }, output };
  const { tape } = x;
  const y = tape.alloc([batch, output.height, output.width, channels], x.dtype);
  bilinearForward(tape.gpu, { x: x.storage, y: y.storage }, size);
  return tape.record("resizeBilinear", y, [x], (dy) => {
    const dx = tape.alloc(x.shape, x.dtype);
    bilinearBackward(tape.gpu, { dy: dy.storage, dx: dx.storage }, size);
    return [dx];
  });
}

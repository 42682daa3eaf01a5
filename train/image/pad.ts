/** Pads images to sizes that a tokenizer takes, and cuts results back. @module */

import type { RgbImage } from "./codec.ts";
import { samplesToUnit } from "./resize.ts";

/** Where an image lies in a padded one. */
export interface Padding {
  /** Columns at the left. */
  readonly left: number;
  /** Rows above. */
  readonly top: number;
  /** Width with padding. */
  readonly width: number;
  /** Height with padding. */
  readonly height: number;
}

/**
 * Tells how an image is padded: as little as possible, on both sides, the odd pixel at the right and below.
 *
 * @param image Its size.
 * @param align What width and height must be multiples of.
 * @returns The padding.
 * @see SEED-Voken evaluation_original_reso.py, `pad_images`.
 */
export function paddingOf(
  image: { readonly width: number; readonly height: number },
  align: number,
): Padding {
  const width = Math.ceil(image.width / align) * align;
  const height = Math.ceil(image.height / align) * align;
  return { left: (width - image.width) >> 1, top: (height - image.height) >> 1, width, height };
}

/**
 * Writes an image into padded pixels in [-1, 1]; the padding is 0, middle gray, as in the reference.
 *
 * @param image The image.
 * @param padding What {@linkcode paddingOf} gave.
 * @param target Zeros, shape (height, width, 3) with padding.
 */
export function padInto(
  image: RgbImage,
  padding: Padding,
  target: Float32Array<ArrayBuffer>,
): void {
  const row = image.width * 3;
  for (let y = 0; y < image.height; y++) {
    const to = ((padding.top + y) * padding.width + padding.left) * 3;
    samplesToUnit(image.pixels.subarray(y * row, (y + 1) * row), target.subarray(to, to + row));
  }
}

/**
 * Cuts an image out of padded pixels.
 *
 * @param pixels In [-1, 1], shape (height, width, 3) with padding.
 * @param padding What {@linkcode paddingOf} gave.
 * @param size Size without padding.
 * @returns Pixels in [-1, 1], shape (height, width, 3).
 */
export function cropFrom(
  pixels: Float32Array,
  padding: Padding,
  size: { readonly width: number; readonly height: number },
): Float32Array<ArrayBuffer> {
  const { width, height } = size;
  const cut = new Float32Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((padding.top + y) * padding.width + padding.left) * 3;
    cut.set(pixels.subarray(from, from + width * 3), y * width * 3);
  }
  return cut;
}

/** Resizes 8-bit images with smoothing, exactly as Pillow does, which prepares the reference's pre-training images. @module */

import type { RgbImage } from "./codec.ts";
import { crop, type CropPosition, roundHalfToEven } from "./resize.ts";

/** Fixed-point weights have 22 bits: 32 less the 8 of a sample and 2 to spare, as Pillow's `PRECISION_BITS`. */
const WEIGHT_BITS = 22;

/**
 * Scales an image so that its shorter side has `size` pixels, smoothing where it shrinks.
 *
 * @param image Any size; returned as it is if the shorter side fits already.
 * @param size Wanted length of the shorter side in pixels.
 * @returns The scaled image; the longer side is rounded down.
 * @see torchvision `Resize` of a Pillow image, used by the reference in src/Open_MAGVIT2/data/pretrain.py.
 */
export function resampleShorterSide(image: RgbImage, size: number): RgbImage {
  const { width, height } = image;
  const shorter = Math.min(width, height);
  if (shorter === size) return image;
  const scaled = (side: number): number => Math.trunc(size * side / shorter);
  return resampleBilinear(image, { width: scaled(width), height: scaled(height) });
}

/**
 * Cuts a square out of an image.
 *
 * @param image At least `size` pixels wide and high.
 * @param size Side of the square in pixels.
 * @param position Where; the center if absent, of two the one that leaves an even number of pixels.
 * @returns The square.
 * @throws {RangeError} If the image is smaller than the square.
 * @see torchvision `CenterCrop`.
 */
export function cropResampled(image: RgbImage, size: number, position?: CropPosition): RgbImage {
  return crop(image, size, position, (free) => roundHalfToEven(free / 2));
}

/**
 * Resizes an image with a triangle filter that grows as the image shrinks; first the rows, rounded to 8 bits, then the
 * columns.
 *
 * Bit for bit Pillow's `resize` with `BILINEAR`.
 *
 * @param image Any size.
 * @param size Wanted width and height in pixels.
 * @returns The resized image.
 * @see python-pillow/Pillow src/libImaging/Resample.c.
 */
export function resampleBilinear(
  image: RgbImage,
  size: { readonly width: number; readonly height: number },
): RgbImage {
  const { width, height } = size;
  const wide = width === image.width ? image.pixels : filter(image.pixels, {
    taps: triangle(image.width, width),
    lines: image.height,
    lineStride: image.width * 3,
    stride: 3,
    outLineStride: width * 3,
    outStride: 3,
    vector: 3,
  });
  if (height === image.height) return { width, height, pixels: wide };
  const pixels = filter(wide, {
    taps: triangle(image.height, height),
    lines: 1,
    lineStride: 0,
    stride: width * 3,
    outLineStride: 0,
    outStride: width * 3,
    vector: width * 3,
  });
  return { width, height, pixels };
}

/** Weights of one axis: output `i` sums inputs `first[i]` … `first[i] + count[i] − 1` with the weights from `start[i]`. */
interface Taps {
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly start: Int32Array;
  readonly weights: Int32Array;
}

function triangle(inputLength: number, outputLength: number): Taps {
  const scale = inputLength / outputLength;
  const support = Math.max(1, scale);
  const first = new Int32Array(outputLength);
  const count = new Int32Array(outputLength);
  const start = new Int32Array(outputLength);
  const weights: number[] = [];
  for (let i = 0; i < outputLength; i++) {
    const center = (i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(center - support + 0.5));
    const to = Math.min(inputLength, Math.trunc(center + support + 0.5));
    const raw = Array.from(
      { length: to - from },
      (_, x) => Math.max(0, 1 - Math.abs((x + from - center + 0.5) * (1 / support))),
    );
    const sum = raw.reduce((total, weight) => total + weight, 0);
    first[i] = from;
    count[i] = to - from;
    start[i] = weights.length;
    for (const weight of raw) weights.push(Math.trunc(0.5 + weight / sum * 2 ** WEIGHT_BITS));
  }
  return { first, count, start, weights: Int32Array.from(weights) };
}

/** How an axis of an array is walked: lines of `taps` outputs, each of `vector` neighboring samples. */
interface Walk {
  readonly taps: Taps;
  readonly lines: number;
  readonly lineStride: number;
  readonly stride: number;
  readonly outLineStride: number;
  readonly outStride: number;
  readonly vector: number;
}

function filter(input: Uint8Array, walk: Walk): Uint8Array {
  const { taps, lines, lineStride, stride, outLineStride, outStride, vector } = walk;
  const { first, count, start, weights } = taps;
  const output = new Uint8Array(
    lines > 1 ? lines * outLineStride : first.length * outStride,
  );
  const sums = new Int32Array(vector);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < first.length; i++) {
      sums.fill(1 << (WEIGHT_BITS - 1)); // half a sample: rounds to nearest
      const from = start[i] ?? 0;
      for (let tap = 0; tap < (count[i] ?? 0); tap++) {
        const weight = weights[from + tap] ?? 0;
        const at = line * lineStride + ((first[i] ?? 0) + tap) * stride;
        for (let k = 0; k < vector; k++) sums[k] = (sums[k] ?? 0) + (input[at + k] ?? 0) * weight;
      }
      const to = line * outLineStride + i * outStride;
      for (let k = 0; k < vector; k++) output[to + k] = (sums[k] ?? 0) >> WEIGHT_BITS;
    }
  }
  return output;
}

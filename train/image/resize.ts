/** Resizes and crops 8-bit images exactly as the reference prepares its training images. @module */

import type { RgbImage } from "./codec.ts";

/** Where to cut a square out of an image: 0 is the left or upper edge, 1 (excluded) the right or lower one. */
export interface CropPosition {
  /** Horizontal position in [0, 1). */
  readonly x: number;
  /** Vertical position in [0, 1). */
  readonly y: number;
}

/** Fixed-point weights have 11 bits, as OpenCV's `INTER_RESIZE_COEF_BITS`. */
const WEIGHT_ONE = 2048;

/**
 * Scales an image so that its shorter side has `size` pixels, keeping the aspect ratio.
 *
 * @param image Any size; returned as it is if the shorter side fits already.
 * @param size Wanted length of the shorter side in pixels.
 * @returns The scaled image.
 * @see albumentations 1.4, `SmallestMaxSize`, used by the reference in src/IBQ/data/base.py.
 */
export function resizeShorterSide(image: RgbImage, size: number): RgbImage {
  const scale = size / Math.min(image.width, image.height);
  if (scale === 1) return image;
  return resizeBilinear(image, {
    width: Math.max(1, roundHalfToEven(image.width * scale)),
    height: Math.max(1, roundHalfToEven(image.height * scale)),
  });
}

/**
 * Resizes an image with bilinear interpolation in fixed point, without smoothing when it shrinks.
 *
 * Bit for bit OpenCV's `resize` of 8-bit images with `INTER_LINEAR`: 11-bit weights, and the exact 2 × 2 average when
 * both sides are halved.
 *
 * @param image Any size.
 * @param size Wanted width and height in pixels.
 * @returns The resized image.
 * @see opencv/opencv modules/imgproc/src/resize.cpp, `HResizeLinear` and `VResizeLinear`.
 */
export function resizeBilinear(
  image: RgbImage,
  size: { readonly width: number; readonly height: number },
): RgbImage {
  const { width, height } = size;
  if (image.width === 2 * width && image.height === 2 * height) return halve(image);
  const columns = axisWeights(image.width, width, true);
  const rows = axisWeights(image.height, height, false);
  const pixels = new Uint8Array(width * height * 3);
  const upper = new Int32Array(width * 3);
  const lower = new Int32Array(width * 3);
  for (let y = 0; y < height; y++) {
    interpolateRow(image, rows.first[y] ?? 0, columns, upper);
    interpolateRow(image, rows.second[y] ?? 0, columns, lower);
    const w1 = rows.weight[y] ?? 0;
    const w0 = WEIGHT_ONE - w1;
    const at = y * width * 3;
    for (let i = 0; i < upper.length; i++) {
      const a = (w0 * ((upper[i] ?? 0) >> 4)) >> 16;
      const b = (w1 * ((lower[i] ?? 0) >> 4)) >> 16;
      pixels[at + i] = (a + b + 2) >> 2;
    }
  }
  return { width, height, pixels };
}

/**
 * Cuts a square out of an image.
 *
 * @param image At least `size` pixels wide and high.
 * @param size Side of the square in pixels.
 * @param position Where; the center if absent.
 * @param center Which of the free pixels of an axis are left and above at the center; by default the smaller half.
 * @returns The square.
 * @throws {RangeError} If the image is smaller than the square.
 * @see albumentations 1.4, `CenterCrop` and `RandomCrop`.
 */
export function crop(
  image: RgbImage,
  size: number,
  position?: CropPosition,
  center: (free: number) => number = half,
): RgbImage {
  const freeX = image.width - size;
  const freeY = image.height - size;
  if (freeX < 0 || freeY < 0) {
    throw new RangeError(
      `Cannot crop ${size} × ${size} pixels: expected an image at least as large, found ` +
        `${image.width} × ${image.height}`,
    );
  }
  const left = position ? Math.floor(position.x * (freeX + 1)) : center(freeX);
  const top = position ? Math.floor(position.y * (freeY + 1)) : center(freeY);
  const pixels = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const from = ((top + y) * image.width + left) * 3;
    pixels.set(image.pixels.subarray(from, from + size * 3), y * size * 3);
  }
  return { width: size, height: size, pixels };
}

/**
 * Mirrors an image left to right.
 *
 * @param image Any size.
 * @returns A new image of the same size.
 */
export function flipHorizontally(image: RgbImage): RgbImage {
  const { width, height } = image;
  const pixels = new Uint8Array(image.pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 3;
      const to = (y * width + width - 1 - x) * 3;
      pixels[to] = image.pixels[from] ?? 0;
      pixels[to + 1] = image.pixels[from + 1] ?? 0;
      pixels[to + 2] = image.pixels[from + 2] ?? 0;
    }
  }
  return { width, height, pixels };
}

/** What a sample 0 … 255 becomes: computed in double precision and rounded once, as the reference does. */
const UNIT_OF_SAMPLE = Float32Array.from({ length: 256 }, (_, sample) => sample / 127.5 - 1);

/**
 * Maps 8-bit samples to [-1, 1] by x / 127.5 − 1.
 *
 * @param samples Samples in 0 … 255, any layout.
 * @param target Receives the values in the same layout; made if absent.
 * @returns `target`.
 */
export function samplesToUnit(
  samples: Uint8Array,
  target: Float32Array<ArrayBuffer> = new Float32Array(samples.length),
): Float32Array<ArrayBuffer> {
  for (let i = 0; i < samples.length; i++) target[i] = UNIT_OF_SAMPLE[samples[i] ?? 0] ?? 0;
  return target;
}

/**
 * Maps values in [-1, 1] to 8-bit samples, the inverse of {@linkcode samplesToUnit}; values beyond are clamped and NaN
 * becomes 0.
 *
 * @param values Values in [-1, 1], any layout.
 * @returns Samples in 0 … 255 in the same layout, rounded to the nearest.
 */
export function unitToSamples(values: Float32Array): Uint8Array<ArrayBuffer> {
  const samples = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    samples[i] = Math.min(255, Math.max(0, Math.round(((values[i] ?? 0) + 1) * 127.5)));
  }
  return samples;
}

/** For each output position of one axis, the two input positions and the weight of the second in 0 … 2048. */
interface AxisWeights {
  readonly first: Int32Array;
  readonly second: Int32Array;
  readonly weight: Int32Array;
}

/**
 * At the edges both positions are the same. OpenCV then gives columns the weight 0 but leaves that of rows, which changes
 * the last bit, as the two products are rounded down one by one.
 */
function axisWeights(
  inputLength: number,
  outputLength: number,
  clampWeights: boolean,
): AxisWeights {
  const first = new Int32Array(outputLength);
  const second = new Int32Array(outputLength);
  const weight = new Int32Array(outputLength);
  const scale = 1 / (outputLength / inputLength);
  for (let i = 0; i < outputLength; i++) {
    const center = Math.fround((i + 0.5) * scale - 0.5);
    const floor = Math.floor(center);
    const inside = !clampWeights || (floor >= 0 && floor < inputLength - 1);
    first[i] = Math.min(inputLength - 1, Math.max(0, floor));
    second[i] = Math.min(inputLength - 1, Math.max(0, floor + 1));
    weight[i] = inside ? roundHalfToEven(Math.fround(center - floor) * WEIGHT_ONE) : 0;
  }
  return { first, second, weight };
}

/** One row at the output's columns, in samples × 2048. */
function interpolateRow(image: RgbImage, row: number, columns: AxisWeights, out: Int32Array): void {
  const { pixels, width } = image;
  const start = row * width * 3;
  for (let x = 0; x < columns.first.length; x++) {
    const a = start + (columns.first[x] ?? 0) * 3;
    const b = start + (columns.second[x] ?? 0) * 3;
    const w1 = columns.weight[x] ?? 0;
    const w0 = WEIGHT_ONE - w1;
    for (let channel = 0; channel < 3; channel++) {
      out[x * 3 + channel] = (pixels[a + channel] ?? 0) * w0 + (pixels[b + channel] ?? 0) * w1;
    }
  }
}

/** Averages 2 × 2 pixels, rounding halves up: what OpenCV does instead when both sides are halved. */
function halve(image: RgbImage): RgbImage {
  const width = image.width / 2;
  const height = image.height / 2;
  const pixels = new Uint8Array(width * height * 3);
  const stride = image.width * 3;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        const at = 2 * y * stride + 6 * x + channel;
        const sum = (image.pixels[at] ?? 0) + (image.pixels[at + 3] ?? 0) +
          (image.pixels[at + stride] ?? 0) + (image.pixels[at + stride + 3] ?? 0);
        pixels[(y * width + x) * 3 + channel] = (sum + 2) >> 2;
      }
    }
  }
  return { width, height, pixels };
}

function half(free: number): number {
  return Math.floor(free / 2);
}

/**
 * Rounds as Python does.
 *
 * @param value Any number.
 * @returns The nearest whole number; of two, the even one.
 */
export function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

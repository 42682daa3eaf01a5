/** Decodes PNG and JPEG files to 8-bit RGB pixels, and encodes RGB pixels as PNG. @module */

import { Buffer } from "node:buffer";
import { inflateSync } from "node:zlib";
import jpeg from "jpeg-js";
// @ts-types="@types/pngjs"
import { PNG } from "pngjs";
import type { LibJpeg } from "./libjpeg.ts";

/** An 8-bit RGB image in memory. */
export interface RgbImage {
  /** Columns of pixels, at least 1. */
  readonly width: number;
  /** Rows of pixels, at least 1. */
  readonly height: number;
  /** Red, green and blue of each pixel in 0 … 255, shape (height, width, 3), row by row. */
  readonly pixels: Uint8Array;
}

/** Limits for {@linkcode decodeImage}. */
export interface DecodeOptions {
  /** Most pixels (width × height) that are decoded; default 2²⁶, about 8192 × 8192. */
  readonly maxPixels?: number;
}

/** What the header of an image file says before any pixel is decoded. */
export interface ImageHeader {
  /** The file format. */
  readonly format: "png" | "jpeg";
  /** Columns of pixels. */
  readonly width: number;
  /** Rows of pixels. */
  readonly height: number;
  /** Bits of a sample: 1, 2, 4, 8 or 16 for PNG; 8 or 12 for JPEG. */
  readonly bitDepth: number;
  /** Samples of a pixel in the file: 1 for gray and palettes, 2 with alpha, 3 for color, 4 for RGBA and CMYK. */
  readonly channels: number;
}

const DEFAULT_MAX_PIXELS = 2 ** 26;
const CMYK_CHANNELS = 4;

/** Samples of a pixel by PNG's color type: gray, RGB, palette, gray with alpha, RGBA; others do not exist. */
const PNG_CHANNELS: readonly number[] = [1, 0, 3, 1, 2, 0, 4];
const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/**
 * Reads the size of a PNG or JPEG file from its header, without decoding it.
 *
 * @param bytes The file, or at least its beginning up to the size.
 * @returns Format, size and bit depth.
 * @throws {SyntaxError} If the bytes are neither a PNG nor a JPEG file, or end before the size.
 */
export function readImageHeader(bytes: Uint8Array): ImageHeader {
  if (bytes.length >= 8 && PNG_SIGNATURE.every((byte, i) => bytes[i] === byte)) {
    return readPngHeader(bytes);
  }
  if (bytes.length >= 3 && bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) {
    return readJpegHeader(bytes);
  }
  throw new SyntaxError("Cannot decode the image: expected a PNG or JPEG file, found other bytes");
}

/**
 * Decodes a PNG or JPEG file to 8-bit RGB.
 *
 * Gray becomes three equal channels, palettes are looked up, alpha is dropped without compositing, CMYK is converted,
 * and of 16-bit samples the high byte is kept. EXIF rotation is ignored. All of this follows the reference (Pillow's
 * `convert("RGB")`, src/IBQ/data/base.py), but for 16-bit gray, which Pillow clips at 255 to almost pure white.
 *
 * @param bytes The whole file.
 * @param options The largest size to accept.
 * @returns The pixels.
 * @throws {SyntaxError} If the bytes are no PNG or JPEG file, or are damaged or cut short.
 * @throws {RangeError} If the header announces more than `maxPixels` pixels.
 */
export function decodeImage(bytes: Uint8Array, options: DecodeOptions = {}): RgbImage {
  const header = readCheckedHeader(bytes, options);
  try {
    return header.format === "png" ? decodePng(bytes, header) : decodeJpeg(bytes, header);
  } catch (cause) {
    throw damaged(header, cause);
  }
}

/**
 * Decodes a PNG or JPEG file as {@linkcode decodeImage} does, but JPEG files to exactly the pixels that libjpeg, and with
 * it the reference, gives. CMYK files, which it cannot convert, go through the other decoder: one level off at most.
 *
 * @param bytes The whole file.
 * @param libJpeg The decoder.
 * @param options The largest size to accept.
 * @returns The pixels.
 * @throws {SyntaxError} If the bytes are no PNG or JPEG file, or are damaged or cut short.
 * @throws {RangeError} If the header announces more than `maxPixels` pixels.
 */
export async function decodeImageExactly(
  bytes: Uint8Array,
  libJpeg: LibJpeg,
  options: DecodeOptions = {},
): Promise<RgbImage> {
  const header = readCheckedHeader(bytes, options);
  if (header.format === "png" || header.channels === CMYK_CHANNELS) {
    return decodeImage(bytes, options);
  }
  try {
    return await libJpeg.decode(bytes);
  } catch (cause) {
    throw damaged(header, cause);
  }
}

/** The header of an image that is small enough. */
function readCheckedHeader(bytes: Uint8Array, options: DecodeOptions): ImageHeader {
  const { maxPixels = DEFAULT_MAX_PIXELS } = options;
  const header = readImageHeader(bytes);
  const { width, height } = header;
  if (width < 1 || height < 1) {
    throw new SyntaxError(`Cannot decode the image: expected pixels, found ${width} × ${height}`);
  }
  if (width * height > maxPixels) {
    throw new RangeError(
      `Cannot decode the image: expected at most ${maxPixels} pixels, found ${width} × ${height}`,
    );
  }
  return header;
}

function damaged(header: ImageHeader, cause: unknown): SyntaxError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new SyntaxError(
    `Cannot decode the image: expected an undamaged ${header.format.toUpperCase()} file, found "${reason}"`,
    { cause },
  );
}

/**
 * Encodes an image as an 8-bit RGB PNG file.
 *
 * @param image The pixels.
 * @returns The bytes of the file.
 * @throws {RangeError} If the number of pixels does not fit width and height.
 */
export function encodePng(image: RgbImage): Uint8Array<ArrayBuffer> {
  const { width, height, pixels } = image;
  if (pixels.length !== width * height * 3) {
    throw new RangeError(
      `Cannot encode a ${width} × ${height} PNG: expected ${width * height * 3} samples, found ` +
        `${pixels.length}`,
    );
  }
  const png = new PNG({ width, height });
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    png.data[to] = pixels[from] ?? 0;
    png.data[to + 1] = pixels[from + 1] ?? 0;
    png.data[to + 2] = pixels[from + 2] ?? 0;
    png.data[to + 3] = 255;
  }
  return new Uint8Array(PNG.sync.write(png, { colorType: 2, inputHasAlpha: true }));
}

function readPngHeader(bytes: Uint8Array): ImageHeader {
  if (bytes.length < 33 || String.fromCharCode(...bytes.subarray(12, 16)) !== "IHDR") {
    throw new SyntaxError("Cannot decode the image: expected a PNG header, found the end");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  const channels = PNG_CHANNELS[view.getUint8(25)] ?? 0;
  return { format: "png", width, height, bitDepth: view.getUint8(24), channels };
}

/** Walks the marker segments up to the start of frame (C0 … CF but C4, C8 and CC), which holds the size. */
function readJpegHeader(bytes: Uint8Array): ImageHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 2;
  while (at + 10 <= bytes.length) {
    if (view.getUint8(at) !== 0xff) break;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) { // fill byte
      at += 1;
      continue;
    }
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      const bitDepth = view.getUint8(at + 4);
      return {
        format: "jpeg",
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        bitDepth,
        channels: view.getUint8(at + 9),
      };
    }
    at += 2 + view.getUint16(at + 2);
  }
  throw new SyntaxError("Cannot decode the image: expected a JPEG header, found the end");
}

function decodePng(bytes: Uint8Array, header: ImageHeader): RgbImage {
  // Rescaling by pngjs rounds 16-bit samples; the reference keeps their high byte. It is needed below 8 bits.
  const deep = header.bitDepth === 16;
  if (bytes[INTERLACE_AT] === 1) checkInflated(bytes, header);
  const { width, height, data } = PNG.sync.read(Buffer.from(bytes), { skipRescale: deep });
  const shift = deep ? 8 : 0;
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < pixels.length; from += 4, to += 3) {
    pixels[to] = (data[from] ?? 0) >> shift;
    pixels[to + 1] = (data[from + 1] ?? 0) >> shift;
    pixels[to + 2] = (data[from + 2] ?? 0) >> shift;
  }
  return { width, height, pixels };
}

/** Where a PNG header says whether the image is interlaced. */
const INTERLACE_AT = 28;

/**
 * Unpacks an interlaced image as far as its size allows: pngjs itself would unpack whatever a hostile file packs.
 *
 * @throws {RangeError} If more bytes come out than such an image has.
 */
function checkInflated(bytes: Uint8Array, header: ImageHeader): void {
  const { width, height, bitDepth, channels } = header;
  const packed: Uint8Array[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    if (view.getUint32(at + 4) === IDAT) packed.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  // The seven passes have under 2 · height + 7 rows, each with a filter byte and perhaps a part of a byte at its end.
  const most = Math.ceil(width * height * channels * bitDepth / 8) + 2 * (2 * height + 7);
  inflateSync(Buffer.concat(packed), { maxOutputLength: most });
}

/** The type of a PNG chunk with pixels, as a number. */
const IDAT = 0x49444154;

function decodeJpeg(bytes: Uint8Array, header: ImageHeader): RgbImage {
  const { width, height, data } = jpeg.decode(bytes, {
    useTArray: true,
    formatAsRGBA: false,
    tolerantDecoding: false,
    // The size is checked by the caller; the decoder's own estimate is about 30 bytes a pixel.
    maxResolutionInMP: Infinity,
    maxMemoryUsageInMB: 512 + (header.width * header.height * 32) / 2 ** 20,
  });
  return { width, height, pixels: data };
}

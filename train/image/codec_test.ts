/** Tests of reading and writing image files. @module */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { crc32, deflateSync } from "node:zlib";
import { encodeJpeg, patternImage } from "../../tests/images.ts";
import { decodeImage, encodePng, readImageHeader } from "./codec.ts";

/** PNG color types. */
const GRAY = 0;
const RGB = 2;
const PALETTE = 3;
const GRAY_ALPHA = 4;
const RGBA = 6;

interface PngParts {
  readonly width: number;
  readonly height: number;
  readonly bitDepth: number;
  readonly colorType: number;
  /** Scanlines, each with its filter byte. */
  readonly scanlines: readonly number[];
  readonly interlaced?: boolean;
  readonly chunks?: Readonly<Record<string, readonly number[]>>;
}

/** Any PNG file, built by hand. */
function pngFile(parts: PngParts): Uint8Array {
  const { width, height, bitDepth, colorType, scanlines, interlaced = false, chunks = {} } = parts;
  const chunk = (type: string, data: ArrayLike<number>): number[] => {
    const body = [...new TextEncoder().encode(type), ...Array.from(data)];
    return [...word(data.length), ...body, ...word(crc32(Uint8Array.from(body)))];
  };
  const header = [...word(width), ...word(height), bitDepth, colorType, 0, 0, interlaced ? 1 : 0];
  return Uint8Array.from([
    ...[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
    ...chunk("IHDR", header),
    ...Object.entries(chunks).flatMap(([type, data]) => chunk(type, data)),
    ...chunk("IDAT", deflateSync(Uint8Array.from(scanlines))),
    ...chunk("IEND", []),
  ]);
}

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

function decodedPixels(file: Uint8Array): number[] {
  return Array.from(decodeImage(file).pixels);
}

Deno.test("encodePng() and decodeImage() give back every pixel", () => {
  for (const [width, height] of [[1, 1], [3, 2], [17, 31]] as const) {
    const image = patternImage({ width, height }, width);
    assertEquals(decodeImage(encodePng(image)), image);
  }
});

Deno.test("encodePng() rejects pixels that do not fit the size", () => {
  const image = { width: 2, height: 2, pixels: new Uint8Array(11) };
  assertThrows(() => encodePng(image), RangeError, "expected 12 samples, found 11");
});

Deno.test("decodeImage() makes three equal channels of gray, and drops alpha", () => {
  const size = { width: 2, height: 1, bitDepth: 8 };
  assertEquals(
    decodedPixels(pngFile({ ...size, colorType: GRAY, scanlines: [0, 7, 200] })),
    [7, 7, 7, 200, 200, 200],
  );
  assertEquals(
    decodedPixels(pngFile({ ...size, colorType: GRAY_ALPHA, scanlines: [0, 7, 0, 200, 255] })),
    [7, 7, 7, 200, 200, 200],
  );
  assertEquals(
    decodedPixels(
      pngFile({ ...size, colorType: RGBA, scanlines: [0, 1, 2, 3, 0, 4, 5, 6, 128] }),
    ),
    [1, 2, 3, 4, 5, 6],
  );
});

Deno.test("decodeImage() scales 1-bit gray and keeps the high byte of 16-bit samples", () => {
  assertEquals(
    decodedPixels(
      pngFile({ width: 3, height: 1, bitDepth: 1, colorType: GRAY, scanlines: [0, 0b10100000] }),
    ),
    [255, 255, 255, 0, 0, 0, 255, 255, 255],
  );
  assertEquals(
    decodedPixels(
      pngFile({
        width: 1,
        height: 1,
        bitDepth: 16,
        colorType: RGB,
        scanlines: [0, 1, 255, 127, 200, 255, 0],
      }),
    ),
    [1, 127, 255],
  );
  assertEquals(
    decodedPixels(
      pngFile({ width: 1, height: 1, bitDepth: 16, colorType: GRAY, scanlines: [0, 90, 250] }),
    ),
    [90, 90, 90],
  );
});

Deno.test("decodeImage() looks up palettes, transparent entries included", () => {
  const file = pngFile({
    width: 4,
    height: 1,
    bitDepth: 2,
    colorType: PALETTE,
    scanlines: [0, 0b00_01_10_01],
    chunks: { PLTE: [1, 2, 3, 10, 20, 30, 100, 110, 120], tRNS: [255, 0] },
  });
  assertEquals(decodedPixels(file), [1, 2, 3, 10, 20, 30, 100, 110, 120, 10, 20, 30]);
});

Deno.test("decodeImage() reads interlaced PNG", () => {
  // Adam7 of 3 × 3: pass 1 (0,0), pass 4 none wider than 2: (2,0); pass 5 row 2; pass 6 column 1; pass 7 row 1.
  const file = pngFile({
    width: 3,
    height: 3,
    bitDepth: 8,
    colorType: GRAY,
    interlaced: true,
    scanlines: [0, 1, 0, 3, 0, 7, 9, 0, 2, 0, 8, 0, 4, 5, 6],
  });
  assertEquals(
    decodedPixels(file).filter((_, i) => i % 3 === 0),
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
});

Deno.test("decodeImage() reads JPEG to within what compression changes", () => {
  const smooth = { width: 16, height: 8, pixels: new Uint8Array(16 * 8 * 3).fill(90) };
  const decoded = decodeImage(encodeJpeg(smooth));
  assertEquals([decoded.width, decoded.height], [16, 8]);
  assert(decoded.pixels.every((sample) => Math.abs(sample - 90) <= 2));
});

Deno.test("decodeImage() refuses a file that is cut short, wherever it is cut", () => {
  const image = patternImage({ width: 24, height: 20 }, 3);
  for (const file of [encodePng(image), encodeJpeg(image)]) {
    for (let length = 0; length < file.length - 2; length += 7) {
      assertThrows(() => decodeImage(file.subarray(0, length)), SyntaxError, "Cannot decode");
    }
  }
});

Deno.test("decodeImage() refuses a damaged PNG and bytes of another kind", () => {
  const file = encodePng(patternImage({ width: 24, height: 20 }, 3));
  file[60] = (file[60] ?? 0) ^ 0xff;
  assertThrows(() => decodeImage(file), SyntaxError, "undamaged PNG");
  const text = new TextEncoder().encode("hello, this is not an image at all");
  assertThrows(() => decodeImage(text), SyntaxError, "expected a PNG or JPEG file");
});

Deno.test("decodeImage() refuses an enormous image by its header, without decoding", () => {
  const png = pngFile({ width: 60000, height: 60000, bitDepth: 8, colorType: RGB, scanlines: [0] });
  assertThrows(() => decodeImage(png), RangeError, "60000 × 60000");
  const jpeg = encodeJpeg(patternImage({ width: 16, height: 8 }, 1));
  assertThrows(() => decodeImage(jpeg, { maxPixels: 127 }), RangeError, "16 × 8");
  assertEquals(decodeImage(jpeg, { maxPixels: 128 }).width, 16);
});

Deno.test("readImageHeader() tells format, size and depth", () => {
  const image = patternImage({ width: 19, height: 11 }, 1);
  const size = { width: 19, height: 11, bitDepth: 8, channels: 3 };
  assertEquals(readImageHeader(encodePng(image)), { format: "png", ...size });
  assertEquals(readImageHeader(encodeJpeg(image)), { format: "jpeg", ...size });
});

/** Tests of resizing and cropping against values computed by OpenCV. @module */

import { assertEquals, assertThrows } from "@std/assert";
import { patternImage } from "../../tests/images.ts";
import type { RgbImage } from "./codec.ts";
import {
  crop,
  flipHorizontally,
  resizeBilinear,
  resizeShorterSide,
  samplesToUnit,
  unitToSamples,
} from "./resize.ts";
// Decoded pixels and what albumentations 1.4.4 (SmallestMaxSize and CenterCrop, 16 pixels) with OpenCV 5.0 makes of them.
import fixture from "./resize_fixture.json" with { type: "json" };

function bytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** An image of one gray value per pixel. */
function gray(width: number, values: readonly number[]): RgbImage {
  return {
    width,
    height: values.length / width,
    pixels: Uint8Array.from(values.flatMap((value) => [value, value, value])),
  };
}

function grayValues(image: RgbImage): number[] {
  return Array.from(image.pixels).filter((_, i) => i % 3 === 0);
}

Deno.test("resizeShorterSide() enlarges exactly as OpenCV", () => {
  const { width, height, decoded, out16 } = fixture.tiny;
  const scaled = resizeShorterSide({ width, height, pixels: bytes(decoded) }, 16);
  assertEquals([scaled.width, scaled.height], [22, 16]);
  assertEquals(crop(scaled, 16).pixels, bytes(out16));
});

Deno.test("resizeShorterSide() shrinks exactly as OpenCV", () => {
  const { width, decoded, out16 } = fixture.gray;
  const scaled = resizeShorterSide(gray(width, [...bytes(decoded)]), 16);
  assertEquals(grayValues(crop(scaled, 16)), [...bytes(out16)]);
});

Deno.test("resizeShorterSide() leaves a fitting image alone and rounds the longer side to even", () => {
  const image = patternImage({ width: 9, height: 6 }, 1);
  assertEquals(resizeShorterSide(image, 6), image);
  assertEquals(resizeShorterSide(patternImage({ width: 5, height: 2 }, 1), 1).width, 2);
  assertEquals(resizeShorterSide(patternImage({ width: 7, height: 2 }, 1), 1).width, 4);
});

Deno.test("resizeBilinear() averages 2 × 2 pixels where both sides are halved", () => {
  const image = gray(4, [0, 1, 255, 255, 1, 0, 255, 255]);
  assertEquals(grayValues(resizeBilinear(image, { width: 2, height: 1 })), [1, 255]);
});

Deno.test("resizeBilinear() spreads a single pixel", () => {
  const one = { width: 1, height: 1, pixels: Uint8Array.of(3, 250, 255) };
  const large = resizeBilinear(one, { width: 4, height: 3 });
  assertEquals(large.pixels, Uint8Array.from({ length: 36 }, (_, i) => [3, 250, 255][i % 3] ?? 0));
});

Deno.test("crop() cuts the center, and both ends of the range of positions", () => {
  const image = gray(5, [...Array(25).keys()]);
  assertEquals(grayValues(crop(image, 2)), [6, 7, 11, 12]);
  assertEquals(grayValues(crop(image, 2, { x: 0, y: 0 })), [0, 1, 5, 6]);
  assertEquals(grayValues(crop(image, 2, { x: 0.999, y: 0.999 })), [18, 19, 23, 24]);
  assertThrows(() => crop(image, 6), RangeError, "found 5 × 5");
});

Deno.test("flipHorizontally() mirrors pixels, not channels", () => {
  const image = { width: 2, height: 1, pixels: Uint8Array.of(1, 2, 3, 4, 5, 6) };
  assertEquals([...flipHorizontally(image).pixels], [4, 5, 6, 1, 2, 3]);
});

Deno.test("samplesToUnit() maps 0 and 255 to -1 and 1, and unitToSamples() back", () => {
  const samples = Uint8Array.from({ length: 256 }, (_, i) => i);
  const unit = samplesToUnit(samples);
  assertEquals([unit[0], unit[51], unit[255]], [-1, Math.fround(-0.6), 1]);
  assertEquals(unitToSamples(unit), samples);
  assertEquals([...unitToSamples(Float32Array.of(-3, 7, NaN))], [0, 255, 0]);
});

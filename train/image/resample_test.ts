/** Tests of smoothing resizes against values computed by Pillow. @module */

import { assertEquals } from "@std/assert";
import { patternImage } from "../../tests/images.ts";
import { cropResampled, resampleBilinear, resampleShorterSide } from "./resample.ts";
// Random pixels, and what torchvision's Resize and CenterCrop make of them with Pillow 13.0.0.
import fixture from "./resample_fixture.json" with { type: "json" };

function bytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

for (const { width, height, size, scaled, pixels, cropped } of fixture) {
  Deno.test(`resampleShorterSide() makes ${size} pixels of ${width} × ${height} as Pillow does`, () => {
    const found = resampleShorterSide({ width, height, pixels: bytes(pixels) }, size);
    assertEquals([found.width, found.height], scaled);
    assertEquals(cropResampled(found, size).pixels, bytes(cropped));
  });
}

Deno.test("resampleBilinear() leaves an axis alone that keeps its length, and spreads a single pixel", () => {
  const image = patternImage({ width: 6, height: 9 }, 2);
  assertEquals(resampleBilinear(image, image), image);
  assertEquals(resampleShorterSide(image, 6), image);
  const one = { width: 1, height: 1, pixels: Uint8Array.of(3, 250, 255) };
  const { pixels } = resampleBilinear(one, { width: 3, height: 2 });
  assertEquals(pixels, Uint8Array.from({ length: 18 }, (_, i) => [3, 250, 255][i % 3] ?? 0));
});

Deno.test("cropResampled() rounds the free pixels at the center to even", () => {
  const image = patternImage({ width: 8, height: 5 }, 1);
  const left = (size: number) => cropResampled(image, size).pixels.subarray(0, 3);
  // (8 - 5) / 2 = 1.5 becomes 2, (8 - 3) / 2 = 2.5 becomes 2, as Python rounds.
  assertEquals(left(5), image.pixels.subarray(2 * 3, 2 * 3 + 3));
  assertEquals(left(3), image.pixels.subarray((8 + 2) * 3, (8 + 2) * 3 + 3));
});

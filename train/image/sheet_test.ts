/** Tests of image sheets. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { patternImage } from "../../tests/images.ts";
import type { RgbImage } from "./codec.ts";
import { makeSheet } from "./sheet.ts";
import { fitText, SHEET_GRAY, textSvg, textWidth } from "./sheet_text.ts";

const ignoreText = (await Deno.permissions.query({ name: "read" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "ffi" })).state !== "granted";

function pixel(image: RgbImage, x: number, y: number): number[] {
  const at = (y * image.width + x) * 3;
  return [...image.pixels.subarray(at, at + 3)];
}

function isBackground(image: RgbImage, x: number, y: number): boolean {
  return pixel(image, x, y).every((sample) => sample === SHEET_GRAY);
}

Deno.test("makeSheet() places zoomed images in rows with gaps", async () => {
  const red = { width: 2, height: 2, pixels: Uint8Array.from(Array(4).fill([255, 0, 0]).flat()) };
  const blue = { width: 1, height: 1, pixels: Uint8Array.of(0, 0, 255) };
  const sheet = await makeSheet([{ images: [red, blue] }, { images: [blue] }], { zoom: 3 });
  // Margins of 12, tiles of 6, gaps of 6.
  assertEquals([sheet.width, sheet.height], [12 + 6 + 6 + 6 + 12, 12 + 6 + 6 + 6 + 12]);
  assertEquals(pixel(sheet, 12, 12), [255, 0, 0]);
  assertEquals(pixel(sheet, 17, 17), [255, 0, 0]);
  assert(isBackground(sheet, 18, 12));
  assertEquals(pixel(sheet, 24, 12), [0, 0, 255]);
  assertEquals(pixel(sheet, 26, 14), [0, 0, 255]);
  assert(isBackground(sheet, 27, 15));
  assertEquals(pixel(sheet, 12, 24), [0, 0, 255]);
  assert(isBackground(sheet, 24, 24));
});

Deno.test("makeSheet() rejects a sheet without images and a broken zoom", async () => {
  await assertRejects(() => makeSheet([]), RangeError, "found none");
  const images = [patternImage({ width: 2, height: 2 }, 1)];
  await assertRejects(() => makeSheet([{ images }], { zoom: 0.5 }), RangeError, "found 0.5");
});

Deno.test("fitText() shortens with an ellipsis and counts characters as a reader does", () => {
  const width = textWidth("12345", 10);
  assertEquals(fitText("12345", { width, fontSize: 10 }), "12345");
  assertEquals(fitText("123456", { width, fontSize: 10 }), "1234…");
  assertEquals(fitText("e\u0301e\u0301e\u0301e\u0301e\u0301", { width, fontSize: 10 }).length, 10);
  assertEquals(fitText("two\nlines", { width: 1000, fontSize: 10 }), "two lines");
  assertEquals(fitText("abc", { width: 8, fontSize: 10 }), "");
});

Deno.test("textSvg() escapes what XML reserves", () => {
  const line = { text: "<a&b>", left: 0, top: 0, width: 100, fontSize: 10 };
  assert(textSvg([line], { width: 100, height: 20 }).includes(">&lt;a&amp;b&gt;</text>"));
});

Deno.test({
  name: "makeSheet() draws labels that keep clear of the images and of the edges",
  ignore: ignoreText,
  fn: async () => {
    const image = { width: 32, height: 32, pixels: new Uint8Array(32 * 32 * 3).fill(255) };
    const long = "a label that is far too long for the place it has, and then some \u0007 & <more>";
    const row = { images: [image, image], label: long, captions: [long, "日本語"] };
    const sheet = await makeSheet([row, { images: [image] }], {
      title: long.repeat(3),
      columnLabels: [long, "b"],
    });
    const edge = (x: number, y: number) => x < 8 || y < 8 || x >= sheet.width - 8;
    let dark = 0;
    let white = 0;
    for (let y = 0; y < sheet.height; y++) {
      for (let x = 0; x < sheet.width; x++) {
        const [red = 0] = pixel(sheet, x, y);
        if (edge(x, y)) assert(isBackground(sheet, x, y), `text at the edge: ${x}, ${y}`);
        if (red < 100) dark++;
        if (red === 255) white++;
      }
    }
    assert(dark > 500, `found ${dark} dark pixels: the text is missing`);
    assertEquals(white, 3 * 64 * 64, "text overlaps an image");
  },
});

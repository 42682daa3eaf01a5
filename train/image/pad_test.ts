import { assertEquals } from "@std/assert";
import { patternImage } from "../../tests/images.ts";
import { cropFrom, paddingOf, padInto } from "./pad.ts";
import { samplesToUnit } from "./resize.ts";

Deno.test("paddingOf() pads both sides to the next multiple, the odd pixel behind", () => {
  assertEquals(paddingOf({ width: 33, height: 48 }, 16), {
    left: 7,
    top: 0,
    width: 48,
    height: 48,
  });
  assertEquals(paddingOf({ width: 1, height: 17 }, 8), { left: 3, top: 3, width: 8, height: 24 });
});

Deno.test("cropFrom() gives back what padInto() padded with gray", () => {
  const image = patternImage({ width: 13, height: 5 }, 3);
  const padding = paddingOf(image, 8);
  const padded = new Float32Array(padding.width * padding.height * 3);
  padInto(image, padding, padded);
  assertEquals(padded.subarray(0, 3), Float32Array.of(0, 0, 0));
  const inside = padded.filter((value) => value !== 0).length;
  assertEquals(inside, 13 * 5 * 3);
  assertEquals(cropFrom(padded, padding, image), samplesToUnit(image.pixels));
});

import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { ignoreFiles } from "../tests/tiny_run.ts";
import {
  ClassMeans,
  type LabeledImage,
  peakSignalToNoise,
  unigramCrossEntropy,
  unigramEntropy,
} from "./measures.ts";

Deno.test("peakSignalToNoise() averages decibels over images", () => {
  const images = new Float32Array([0, 0, 0, 0]);
  const other = new Float32Array([0.2, -0.2, 0.02, -0.02]);
  assertAlmostEquals(peakSignalToNoise(images, other, 2), (20 + 40) / 2, 1e-5);
});

Deno.test("peakSignalToNoise() clamps reconstructions", () => {
  assertAlmostEquals(
    peakSignalToNoise(new Float32Array([0.8]), new Float32Array([7]), 1),
    20,
    1e-5,
  );
});

Deno.test("unigramEntropy() of evenly used codes is the logarithm of their number", () => {
  assertAlmostEquals(unigramEntropy(Float64Array.of(1, 1, 1, 1, 0)), Math.log(4), 1e-12);
  assertEquals(unigramEntropy(Float64Array.of(0, 2, 0)), 0);
});

Deno.test("unigramCrossEntropy() adds one to each count", () => {
  const found = unigramCrossEntropy(Float64Array.of(2, 0), Float64Array.of(1, 1));
  assertAlmostEquals(found, -(Math.log(3 / 4) + Math.log(1 / 4)) / 2, 1e-12);
});

Deno.test({
  name: "ClassMeans counts the images nearest to their own class, and leaves no file behind",
  ignore: ignoreFiles,
  async fn() {
    const images = async function* (...labels: number[]): AsyncGenerator<LabeledImage> {
      for (const [i, label] of labels.entries()) {
        yield await Promise.resolve({
          label,
          pixels: Float32Array.of([0, 2, 10][i]!, [0, 2, 10][i]!),
        });
      }
    };
    // Class 1 has no image.
    const means = await ClassMeans.of(images(0, 0, 2), 2);
    using _means = means;
    assertEquals([...means.overall()], [4, 4]);
    const pixels = new Float32Array([1, 1, 9, 9, 9, 9]);
    for (let pass = 0; pass < 2; pass++) assertEquals(means.countNearest(pixels, [0, 2, 0]), 2);
    await assertRejects(() => ClassMeans.of(images(0, 2, 0), 2), RangeError, "found it again");
  },
});

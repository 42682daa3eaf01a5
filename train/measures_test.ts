import { assertAlmostEquals, assertEquals } from "@std/assert";
import { ClassMeans, peakSignalToNoise, unigramCrossEntropy, unigramEntropy } from "./measures.ts";

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

Deno.test("ClassMeans counts the images nearest to their own class", () => {
  const means = new ClassMeans(3, 2);
  means.add(new Float32Array([0, 0, 2, 2, 10, 10]), [0, 0, 1]);
  assertEquals([...means.overall()], [4, 4]);
  assertEquals(means.countNearest(new Float32Array([1, 1, 9, 9, 9, 9]), [0, 1, 0]), 2);
});

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { sampleDecibels, unitToTruncatedSamples } from "./samples.ts";

Deno.test("unitToTruncatedSamples() gives what NumPy gives in single precision", () => {
  const values = [-1, -0.5, 0, 1 / 255, 0.999, 1, 1.5, -7, NaN, 0.20784315, 0.2078431, -0.9921569];
  // ((255 * ((x.astype(float32) + 1.) / 2.)).clip(0, 255)).astype(uint8) of NumPy 2.4
  const expected = [0, 63, 127, 128, 254, 255, 255, 0, 0, 154, 153, 0];
  assertEquals([...unitToTruncatedSamples(Float32Array.from(values))], expected);
});

Deno.test("sampleDecibels() gives what scikit-image gives", () => {
  const image = Uint8Array.of(0, 10, 200, 255, 7, 99);
  const other = Uint8Array.of(3, 10, 190, 255, 0, 100);
  // 10 log10(1 / mean((image / 255 - other / 255)²)) by NumPy 2.4, as skimage.metrics.peak_signal_noise_ratio
  assertAlmostEquals(sampleDecibels(image, other), 33.898345, 1e-6);
  assertEquals(sampleDecibels(image, image), Infinity);
});

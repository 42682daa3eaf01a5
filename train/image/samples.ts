/** Pixels as 8-bit samples the way the reference writes its images: cut off, not rounded. @module */

/**
 * Maps values in [-1, 1] to 8-bit samples by 255 (x + 1) / 2 in single precision, clipped, with what is behind the point cut off.
 *
 * @param values Any layout; NaN becomes 0.
 * @returns Samples in 0 … 255 in the same layout.
 * @see SEED-Voken sample.py, `chw_to_pillow`; reconstruct_image.py, `custom_to_pil`.
 */
export function unitToTruncatedSamples(values: Float32Array): Uint8Array<ArrayBuffer> {
  const samples = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const scaled = Math.fround(255 * Math.fround(Math.fround((values[i] ?? 0) + 1) / 2));
    samples[i] = Math.min(255, Math.max(0, scaled));
  }
  return samples;
}

/**
 * Peak signal-to-noise ratio of two images as the reference measures it: of 8-bit samples, not of what they were cut off from.
 *
 * @param image Samples in 0 … 255.
 * @param other As many.
 * @returns `10 log10(255² / mean squared difference)` in dB; infinite for equal images.
 * @see SEED-Voken evaluation_image.py, which takes scikit-image's `peak_signal_noise_ratio`.
 */
export function sampleDecibels(image: Uint8Array, other: Uint8Array): number {
  let squares = 0;
  for (let i = 0; i < image.length; i++) squares += ((image[i] ?? 0) - (other[i] ?? 0)) ** 2;
  return 10 * Math.log10((255 ** 2 * image.length) / squares);
}

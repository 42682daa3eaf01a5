/** How many images pass a tokenizer at once. @module */

/** Most images at once: of 64 × 64 pixels, a small tokenizer has work enough with them. */
export const MOST_AT_ONCE = 32;
/** Pixels at once: the published tokenizers then take 2 to 3 GiB beside their weights. */
const PIXELS_AT_ONCE = 2 ** 19;

/**
 * Says how many images pass a tokenizer at once, so that memory does not grow with their size.
 *
 * @param width Width in pixels.
 * @param height Height in pixels; default the width.
 * @returns At least 1.
 */
export function imagesAtOnce(width: number, height = width): number {
  const most = Math.floor(PIXELS_AT_ONCE / (width * height));
  return Math.max(1, Math.min(MOST_AT_ONCE, most));
}

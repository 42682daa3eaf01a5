/** How far numbers are apart, with infinities and NaN. @module */

/**
 * Distance of two numbers; equal infinities are no distance apart, and a NaN is infinitely far from everything.
 *
 * @param a One number.
 * @param b Another number.
 * @returns `|a - b|`.
 */
export function distance(a: number, b: number): number {
  if (a === b) return 0;
  const difference = Math.abs(a - b);
  return Number.isNaN(difference) ? Infinity : difference;
}

/**
 * Largest distance of two arrays, element by element.
 *
 * @param a One array.
 * @param b Another one of the same length.
 * @returns The distance; infinite where one has a NaN or is longer.
 */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    most = Math.max(most, distance(a[i] ?? NaN, b[i] ?? NaN));
  }
  return most;
}

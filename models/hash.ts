/** Hashes for names and counters: small, fast and the same everywhere, not for secrets. @module */

/**
 * Hash of a text: 32-bit FNV-1a of its UTF-8 bytes.
 *
 * @param text Any text.
 * @returns A number in 0 … 2³² − 1.
 */
export function fnv1a32(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/**
 * Scrambles 32 bits so that neighboring inputs give unrelated outputs (a bijection).
 *
 * @param value A whole number; its low 32 bits count.
 * @returns A number in 0 … 2³² − 1.
 * @see Chris Wellons, "Prospecting for hash functions", 2018, `lowbias32`.
 */
export function mix32(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/**
 * A random number that depends on its key alone, so a resumed run draws what an uninterrupted one would have drawn.
 *
 * @param key Whole numbers, such as seed, epoch and index.
 * @returns A multiple of 2⁻³² in [0, 1).
 */
export function hashedUniform(...key: readonly number[]): number {
  return mix32(key.reduce(fold, GOLDEN_RATIO)) / 2 ** 32;
}

/** 2³² divided by the golden ratio: the usual constant without structure. */
const GOLDEN_RATIO = 0x9e3779b9;

/** Takes one more part of a key into a hash. */
function fold(hash: number, part: number): number {
  return mix32(hash ^ mix32(part)) + GOLDEN_RATIO;
}

/**
 * A random order of 0 … length − 1 that depends on the key alone.
 *
 * @param length Number of elements.
 * @param key Whole numbers, such as seed and epoch.
 * @returns Each number once (Fisher and Yates' shuffle).
 */
export function hashedPermutation(length: number, ...key: readonly number[]): Uint32Array {
  const order = new Uint32Array(length).map((_, i) => i);
  // As hashedUniform(...key, i), whose first parts are the same for millions of images.
  const start = key.reduce(fold, GOLDEN_RATIO);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(mix32(fold(start, i)) / 2 ** 32 * (i + 1));
    const swapped = order[i] ?? 0;
    order[i] = order[j] ?? 0;
    order[j] = swapped;
  }
  return order;
}

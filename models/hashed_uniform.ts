/** Weights from a formula: uniform numbers hashed from a parameter's name, equal on every machine and in every language. @module */

function mix32(value: number): number {
  let x = value >>> 0;
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/**
 * Makes the stream of uniform numbers of one name: `(mix32(mix32(i + salt) ^ fnv1a32(name)) >>> 8) / 2^24`.
 *
 * @param name Name of the parameter (or anything).
 * @param salt Another salt gives other numbers for all names.
 * @returns A function from flat index to a number in [0, 1).
 * @see The 32-bit FNV-1a hash, and the mixing constants of C. Wellons' `lowbias32`.
 */
export function hashedUniform(name: string, salt = 0): (index: number) => number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (index) => (mix32(mix32((index + salt) >>> 0) ^ hash) >>> 8) / 16777216;
}

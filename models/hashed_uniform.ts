/** Weights from a formula: uniform numbers hashed from a parameter's name, equal on every machine and in every language. @module */

import { fnv1a32, mix32 } from "./hash.ts";

/**
 * Makes the stream of uniform numbers of one name: `(mix32(mix32(i + salt) ^ fnv1a32(name)) >>> 8) / 2^24`.
 *
 * @param name Name of the parameter (or anything).
 * @param salt Another salt gives other numbers for all names.
 * @returns A function from flat index to a number in [0, 1).
 */
export function hashedUniform(name: string, salt = 0): (index: number) => number {
  const key = fnv1a32(name);
  return (index) => (mix32(mix32(index + salt) ^ key) >>> 8) / 16777216;
}

/** What {@linkcode fillHashed} writes: `offset + (u - center) * factor` of uniform numbers u. */
export interface HashedValues {
  /** Name of the parameter (or anything). */
  readonly name: string;
  /** Another salt gives other numbers for all names. */
  readonly salt: number;
  /** Index of the first number, default 0. */
  readonly first?: number;
  /** Subtracted from u, default 0.5. */
  readonly center?: number;
  /** Multiplies the difference. */
  readonly factor: number;
  /** Added at last, default 0. */
  readonly offset?: number;
}

/**
 * Fills an array with an affine map of the uniform numbers of one name, in double precision, rounded once.
 *
 * @param target What is filled; any part of a parameter, so that large ones are made piece by piece.
 * @param values Stream, index of the first number, and the map.
 */
export function fillHashed(target: Float32Array, values: HashedValues): void {
  const { name, salt, first = 0, center = 0.5, factor, offset = 0 } = values;
  const key = fnv1a32(name);
  // The sum wraps like the hash's own counter, whatever the salt.
  const start = (first + salt) >>> 0;
  for (let i = 0; i < target.length; i++) {
    const u = (mix32(mix32(start + i) ^ key) >>> 8) / 16777216;
    target[i] = offset + (u - center) * factor;
  }
}

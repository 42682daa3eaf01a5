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

/** How results at the official sizes are compared with the reference's: by samples and fingerprints. @module */

import { hashedUniform } from "../../models/hashed_uniform.ts";
import { fingerprint } from "./layout.ts";
import type { VectorFile } from "./vectors.ts";

/**
 * Relative L2 distance of sampled elements from another float32 implementation. These files have no entry in `tolerances.json`, as the
 * reference was not run in float64 at these sizes; the vectors' description gives this bound. Two orders of summation through some
 * hundred layers are about 1e-5 apart, a wrong constant or a missing term is beyond 1e-2.
 */
export const OFFICIAL_TOLERANCE = 1e-3;

/**
 * Compares elements of a tensor at hashed positions, by the L2 norm of the differences relative to the norm of the samples.
 *
 * @param file The file.
 * @param name Name of the tensor; the file has `name.samples`.
 * @param found The whole tensor in the file's order of axes.
 */
export async function compareSamples(
  file: VectorFile,
  name: string,
  found: ArrayLike<number>,
): Promise<void> {
  const expected = await file.input(`${name}.samples`);
  const uniform = hashedUniform(`${name}@`);
  const sampled = expected.map((_, i) => found[Math.floor(uniform(i) * found.length)] ?? NaN);
  file.check(`${name}.samples`, relativeDistance(sampled, expected), OFFICIAL_TOLERANCE);
}

/**
 * Compares a fingerprint: norm, sum and two projections of all elements, so that no element is left out.
 *
 * All four are compared in units of the norm. An error of relative size e changes the norm by at most e of it, and the projections,
 * whose signs are random, by about e of it. The plain sum is stricter: errors of a common sign, such as of a shifted mean, add up to
 * as much as the root of the number of elements times e. Of the 196,608 pixels of a reconstruction, whose samples are 5e-6 off, it is
 * up to 1.8e-4 of the norm off, 33 times as much and 7e-7 of itself; everything else is within 1e-5.
 *
 * @param file The file.
 * @param name Name of the tensor; the file has `name.fp`.
 * @param found The whole tensor in the file's order of axes.
 */
export async function compareFingerprint(
  file: VectorFile,
  name: string,
  found: ArrayLike<number>,
): Promise<void> {
  const expected = await file.input(`${name}.fp`);
  const norm = expected[1] ?? NaN;
  const errors = fingerprint(name, found).map((value, i) =>
    Math.abs(value - (expected[i] ?? NaN)) / norm
  );
  const worst = errors.every(Number.isFinite) ? Math.max(...errors) : Infinity;
  file.check(`${name}.fp`, worst, OFFICIAL_TOLERANCE);
}

/**
 * L2 norm of the difference of two arrays, relative to the norm of the second.
 *
 * @param found One array.
 * @param expected Another one of the same length.
 * @returns The distance; infinite where there is no number.
 */
export function relativeDistance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let differences = 0, squares = 0;
  for (let i = 0; i < expected.length; i++) {
    differences += ((found[i] ?? NaN) - (expected[i] ?? NaN)) ** 2;
    squares += (expected[i] ?? NaN) ** 2;
  }
  const distance = Math.sqrt(differences / squares);
  return Number.isNaN(distance) ? Infinity : distance;
}

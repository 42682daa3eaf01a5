/** Whether two subjects computed the same. @module */

import type { Operation } from "./cases.ts";

/** How far a subject's numbers may be from the engine's, as a share of the engine's largest absolute number. */
export const TOLERANCES = {
  /** Sums of up to 16,384 products in f32, in any order, and built-in functions of a few units in the last place. */
  KERNEL: 1e-4,
  /** A sum of 16 million numbers, which some add up one after the other. */
  LONG_SUM: 1e-3,
  /** Losses of two training steps, or outputs of a hundred layers; found: 1e-6. Adam's division by small moments makes it looser. */
  MODEL: 1e-3,
} as const;

/** Name of a tolerance. */
export type ToleranceName = keyof typeof TOLERANCES;

/**
 * Finds the tolerance of an operation.
 *
 * @param operation The operation.
 * @returns Its name.
 */
export function toleranceOf(operation: Operation): ToleranceName {
  if (operation.kind === "sum") return "LONG_SUM";
  return operation.kind === "model" ? "MODEL" : "KERNEL";
}

/**
 * Compares the whole results of two subjects.
 *
 * @param found What the subject computed.
 * @param expected What the engine computed.
 * @param name The tolerance.
 * @returns Undefined if they are equal within it, else what is wrong.
 */
export function difference(
  found: Float32Array,
  expected: Float32Array,
  name: ToleranceName,
): string | undefined {
  if (found.length !== expected.length) {
    return `expected ${expected.length} numbers, found ${found.length}`;
  }
  let largest = 0, worst = 0, at = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(found[i]! - expected[i]!);
    largest = Math.max(largest, Math.abs(expected[i]!));
    // A NaN is worse than anything.
    if (!(error <= worst)) {
      worst = error;
      at = i;
      if (Number.isNaN(error)) break;
    }
  }
  if (worst <= TOLERANCES[name] * largest) return undefined;
  return `result differs: element ${at} is ${found[at]}, ours ${expected[at]} (largest ${
    largest.toPrecision(3)
  }, tolerance ${name} = ${TOLERANCES[name]})`;
}

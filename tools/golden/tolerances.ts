/** How far a correct float32 implementation may be off each tensor of the vectors. @module */

import { type Json, numberOf, objectOf } from "./json.ts";

/** How far the reference's own float32 and float64 runs are apart, from `tolerances.json`. */
export interface Tolerance {
  /** Largest difference. */
  maxAbs: number;
  /** Largest absolute value of the float64 run. */
  scale: number;
}

/** Tolerances by name of the tensor; a tensor without one is an input, or agreed exactly. */
export type Tolerances = ReadonlyMap<string, Tolerance>;

/** Another order of summation may be off by this many times what float32 itself was off. */
const SUMMATION_ORDER_FACTOR = 10;
/** And by this share of the tensor's largest value. */
const SCALE_SHARE = 2e-6;
/** Below this scale a gradient is analytically zero and only noise is stored. */
const ZERO_SCALE = 1e-10;
/** What noise around an analytic zero may reach. */
const ZERO_NOISE = 1e-6;

/** How a tensor is compared. */
export interface Allowance {
  /** Largest distance of an element. */
  tolerance: number;
  /** Whether the tensor is analytically zero, so that the engine's numbers are compared with 0. */
  zero: boolean;
}

/**
 * Says how far floats may be off: `10 maxAbs + 2e-6 scale`, or 1e-6 from an analytic zero.
 *
 * @param known The tensor's tolerance, if it has one.
 * @param expected Its elements.
 * @param zero Whether it is analytically zero; default: decided by its scale.
 * @returns How it is compared.
 */
export function allowanceOf(
  known: Tolerance | undefined,
  expected: ArrayLike<number>,
  zero?: boolean,
): Allowance {
  const { maxAbs, scale } = known ?? { maxAbs: 0, scale: largest(expected) };
  if (zero ?? scale < ZERO_SCALE) return { tolerance: ZERO_NOISE, zero: true };
  return { tolerance: SUMMATION_ORDER_FACTOR * maxAbs + SCALE_SHARE * scale, zero: false };
}

/**
 * Reads `tolerances.json`.
 *
 * @param value Its content.
 * @param name Named in errors.
 * @returns Tolerances by tensor, by file.
 * @throws {SyntaxError} If it is not laid out as expected.
 */
export function tolerancesOf(value: Json, name: string): Map<string, Tolerances> {
  return new Map(
    Object.entries(objectOf(value, name)).map(([file, tensors]) => [
      file,
      new Map(
        Object.entries(objectOf(tensors, `${name}: ${file}`)).map(([tensor, entry]) => {
          const what = `${name}: ${file}: ${tensor}`;
          const { max_abs: maxAbs, scale } = objectOf(entry, what);
          return [tensor, { maxAbs: numberOf(maxAbs, what), scale: numberOf(scale, what) }];
        }),
      ),
    ]),
  );
}

/** Largest absolute value of the finite elements. */
function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) {
    const value = Math.abs(values[i] ?? 0);
    if (Number.isFinite(value) && value > most) most = value;
  }
  return most;
}

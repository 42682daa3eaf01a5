/** Named tolerances, and the comparison that reports index, found, expected and normalized error. @module */

import { AssertionError } from "@std/assert";

/** How far a number may be off: `|found − expected| ≤ absolute + relative · |expected|`. */
export interface Tolerance {
  /** Share of the expected number. */
  relative: number;
  /** In the unit of the number. */
  absolute: number;
}

/** Copies, integers, argmax: no arithmetic that rounds. */
export const EXACT: Tolerance = { relative: 0, absolute: 0 };
/** One rounding or a built-in function per element: WGSL allows exp, log and tanh a few units in the last place. */
export const ELEMENTWISE: Tolerance = { relative: 1e-5, absolute: 1e-7 };
/** Sums of up to some thousand products in f32, in any order. */
export const REDUCTION: Tolerance = { relative: 1e-5, absolute: 1e-5 };
/** Directional derivative by central differences in f32 with step 1e-2 against the analytic gradient. */
export const GRADIENT: Tolerance = { relative: 1e-3, absolute: 0 };
/** Results of f16 tensors against those of f32 tensors: an f16 has 11 bits, and values of one op are rounded up to three times. */
export const HALF: Tolerance = { relative: 2 ** -9, absolute: 2 ** -9 };

/** The worst number of one comparison. */
export interface Comparison {
  /** What was compared. */
  readonly what: string;
  /** The tolerance. */
  readonly tolerance: Tolerance;
  /** How far the worst number is off. */
  readonly error: number;
  /** How far it may be off. */
  readonly allowed: number;
}

let observer: ((comparison: Comparison) => void) | undefined;

/**
 * Shows the comparisons of {@linkcode assertClose} to an observer, those that fail included.
 *
 * @param observe Gets each comparison.
 * @returns Ends the observation when it is disposed.
 */
export function observeComparisons(observe: (comparison: Comparison) => void): Disposable {
  observer = observe;
  return { [Symbol.dispose]: () => observer = undefined };
}

/**
 * Compares two arrays.
 *
 * @param found What was computed.
 * @param expected What it should be.
 * @param tolerance A named tolerance.
 * @param what Named in the message.
 * @throws {AssertionError} If lengths differ, a number is out of tolerance, or a found number is NaN.
 */
export function assertClose(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
  what: string,
): void {
  if (found.length !== expected.length) {
    throw new AssertionError(`${what}: expected ${expected.length} numbers, found ${found.length}`);
  }
  let worst = 0;
  let worstRatio = 0;
  let errorSquares = 0;
  let squares = 0;
  for (let i = 0; i < found.length; i++) {
    const want = expected[i]!;
    const error = Math.abs(found[i]! - want);
    errorSquares += error * error;
    squares += want * want;
    if (found[i] === want) continue;
    const ratio = Number.isNaN(error)
      ? Infinity
      : error / Math.max(allowedError(want, tolerance), Number.MIN_VALUE);
    if (ratio > worstRatio) {
      worst = i;
      worstRatio = ratio;
    }
  }
  observer?.({
    what,
    tolerance,
    error: worstRatio === 0 ? 0 : Math.abs(found[worst]! - expected[worst]!),
    allowed: allowedError(expected[worst] ?? 0, tolerance),
  });
  if (worstRatio <= 1) return;
  throw new AssertionError(
    `${what}: worst at index ${worst}: expected ${expected[worst]}, found ${found[worst]}, ${
      worstRatio.toPrecision(3)
    } times the tolerance (normalized mean squared error ${
      (errorSquares / Math.max(squares, Number.MIN_VALUE)).toExponential(2)
    })`,
  );
}

function allowedError(expected: number, tolerance: Tolerance): number {
  return tolerance.absolute + tolerance.relative * Math.abs(expected);
}

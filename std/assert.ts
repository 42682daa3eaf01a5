/**
 * Assertions: a stand-in for `@std/assert` 1.0 with its names, signatures and rules.
 *
 * It serves machines that reach the npm registry only. To use the original, point the import map's
 * `@std/assert` to `jsr:@std/assert@1`.
 *
 * @module
 */

import { failAssertion } from "./assertion_error.ts";
import { equal } from "./equal.ts";

export { AssertionError } from "./assertion_error.ts";
export { assertRejects, assertThrows, type ErrorClass } from "./assert_throws.ts";

/** Shows a value in a message, on one line. */
function show(value: unknown): string {
  return Deno.inspect(value, { depth: 6, breakLength: Infinity, iterableLimit: 24 });
}

/**
 * Asserts that an expression is truthy.
 *
 * @param expr The expression.
 * @param msg The failure's message.
 * @throws {AssertionError} If it is falsy.
 */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) failAssertion(msg);
}

/**
 * Asserts that two values are equal, deeply; NaN equals NaN, 0 equals -0.
 *
 * @param actual The value to test.
 * @param expected The value it should have.
 * @param msg Words for the failure.
 * @throws {AssertionError} If they differ.
 */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) {
    failAssertion(
      `Values are not equal.\n  actual:   ${show(actual)}\n  expected: ${show(expected)}`,
      msg,
    );
  }
}

/**
 * Asserts that two values are not equal, deeply.
 *
 * @param actual The value to test.
 * @param expected The value it should not have.
 * @param msg Words for the failure.
 * @throws {AssertionError} If they are equal.
 */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) {
    failAssertion(`Expected actual: ${show(actual)} not to be: ${show(expected)}`, msg);
  }
}

/**
 * Asserts that two values are the same, by `Object.is`.
 *
 * @param actual The value to test.
 * @param expected The value it should be.
 * @param msg Words for the failure.
 * @throws {AssertionError} If they are not the same.
 */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (!Object.is(actual, expected)) {
    failAssertion(
      `Values are not strictly equal.\n  actual:   ${show(actual)}\n  expected: ${show(expected)}`,
      msg,
    );
  }
}

/**
 * Asserts that two numbers are near each other.
 *
 * @param actual The number to test.
 * @param expected The number it should be near.
 * @param tolerance The largest absolute difference; by default 1e-7 of `expected`, or 1e-7 where that is not finite.
 * @param msg Words for the failure.
 * @throws {AssertionError} If they differ by more.
 */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const delta = Math.abs(expected - actual);
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  if (!(delta <= allowed)) {
    failAssertion(
      `Expected actual: "${actual}" to be close to "${expected}": delta "${delta}" is greater than "${allowed}"`,
      msg,
    );
  }
}

/**
 * Asserts that a value is greater than another.
 *
 * @param actual The value to test.
 * @param expected The bound, excluded.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it is not.
 */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) failAssertion(`Expect ${show(actual)} > ${show(expected)}`, msg);
}

/**
 * Asserts that a value is not less than another.
 *
 * @param actual The value to test.
 * @param expected The bound, included.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it is less.
 */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) failAssertion(`Expect ${show(actual)} >= ${show(expected)}`, msg);
}

/**
 * Asserts that a value is less than another.
 *
 * @param actual The value to test.
 * @param expected The bound, excluded.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it is not.
 */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) failAssertion(`Expect ${show(actual)} < ${show(expected)}`, msg);
}

/**
 * Asserts that a value is not greater than another.
 *
 * @param actual The value to test.
 * @param expected The bound, included.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it is greater.
 */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) failAssertion(`Expect ${show(actual)} <= ${show(expected)}`, msg);
}

/**
 * Asserts that a value is neither null nor undefined.
 *
 * @param actual The value to test.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it is null or undefined.
 */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    failAssertion(`Expected actual: "${actual}" to not be null or undefined`, msg);
  }
}

/**
 * Asserts that a value is an instance of a class.
 *
 * @param actual The value to test.
 * @param expectedType The class.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it is not.
 */
export function assertInstanceOf<T extends abstract new (...args: never[]) => unknown>(
  actual: unknown,
  expectedType: T,
  msg?: string,
): asserts actual is InstanceType<T> {
  if (!(actual instanceof expectedType)) {
    failAssertion(`Expected object to be an instance of "${expectedType.name}"`, msg);
  }
}

/**
 * Asserts that a text matches a pattern.
 *
 * @param actual The text to test.
 * @param expected The pattern.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it does not match.
 */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (actual.search(expected) < 0) {
    failAssertion(`Expected actual: ${show(actual)} to match: ${show(expected)}`, msg);
  }
}

/**
 * Asserts that a text includes another.
 *
 * @param actual The text to test.
 * @param expected The text to find.
 * @param msg Words for the failure.
 * @throws {AssertionError} If it is not included.
 */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) {
    failAssertion(`Expected actual: ${show(actual)} to contain: ${show(expected)}`, msg);
  }
}

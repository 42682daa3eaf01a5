/** Assertions that something throws or rejects, as in `@std/assert`. @module */

import { failAssertion } from "./assertion_error.ts";

/** A class of errors, abstract or not. */
export type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

/** The arguments after the function: a note, or a class with a part of its message and a note. */
type Expectation<E extends Error> =
  | [msg?: string | undefined]
  | [errorClass: ErrorClass<E>, msgIncludes?: string | undefined, msg?: string | undefined];

function checkError<E extends Error>(error: unknown, expectation: Expectation<E>): void {
  const [errorClass, part, note] = expectation;
  if (typeof errorClass !== "function") return;
  if (!(error instanceof Error)) {
    failAssertion("Expected an Error object, found a value that is none", note, error);
  }
  if (!(error instanceof errorClass)) {
    failAssertion(
      `Expected error to be instance of "${errorClass.name}", but was "${error.constructor.name}"`,
      note,
      error,
    );
  }
  if (part !== undefined && !error.message.includes(part)) {
    failAssertion(
      `Expected error message to include ${JSON.stringify(part)}, but got ${
        JSON.stringify(error.message)
      }`,
      note,
      error,
    );
  }
}

function noteOf<E extends Error>(expectation: Expectation<E>): string | undefined {
  return typeof expectation[0] === "function" ? expectation[2] : expectation[0];
}

/**
 * Asserts that a function throws.
 *
 * @param fn The function, called without arguments.
 * @param msg Words for the failure.
 * @returns What was thrown.
 * @throws {AssertionError} If nothing is thrown.
 */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/**
 * Asserts that a function throws an error of one class.
 *
 * @param fn The function, called without arguments.
 * @param ErrorClass The class that the error must have.
 * @param msgIncludes A text that the error's message must include.
 * @param msg Words for the failure.
 * @returns The error.
 * @throws {AssertionError} If nothing is thrown, or another class or message.
 */
export function assertThrows<E extends Error>(
  fn: () => unknown,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  ...expectation: Expectation<E>
): unknown {
  try {
    fn();
  } catch (error) {
    checkError(error, expectation);
    return error;
  }
  return failAssertion("Expected function to throw", noteOf(expectation));
}

/**
 * Asserts that a promise is rejected.
 *
 * @param fn The function that gives the promise.
 * @param msg Words for the failure.
 * @returns What it is rejected with.
 * @throws {AssertionError} If the promise is fulfilled, or `fn` throws before it gives one.
 */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/**
 * Asserts that a promise is rejected with an error of one class.
 *
 * @param fn The function that gives the promise.
 * @param ErrorClass The class that the error must have.
 * @param msgIncludes A text that the error's message must include.
 * @param msg Words for the failure.
 * @returns The error.
 * @throws {AssertionError} If the promise is fulfilled, `fn` throws before it gives one, or the error has another class or message.
 */
export function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  ...expectation: Expectation<E>
): Promise<unknown> {
  let promise: PromiseLike<unknown> | undefined;
  try {
    promise = fn();
    await promise;
  } catch (error) {
    if (promise === undefined) {
      failAssertion("Function throws when expected to reject", noteOf(expectation), error);
    }
    checkError(error, expectation);
    return error;
  }
  return failAssertion("Expected function to reject", noteOf(expectation));
}

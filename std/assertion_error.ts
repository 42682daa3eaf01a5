/** The error that a failed assertion throws, as in `@std/assert`. @module */

/** Thrown by an assertion that does not hold. */
export class AssertionError extends Error {
  /**
   * Makes the error.
   *
   * @param message What was expected and what was found.
   * @param options The cause, where there is one.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

/**
 * Fails an assertion.
 *
 * @param message What does not hold.
 * @param note The caller's own words, appended.
 * @param cause What led to it.
 * @throws {AssertionError} Always.
 */
export function failAssertion(message: string, note?: string, cause?: unknown): never {
  const text = note === undefined ? message : `${message.replace(/\.$/, "")}: ${note}`;
  throw new AssertionError(text, cause === undefined ? undefined : { cause });
}

/** Typed reading of the JSON that comes with vectors. @module */

/** Any JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

/** A JSON object. */
export interface JsonObject {
  /** Values by key. */
  readonly [key: string]: Json;
}

/**
 * Parses a JSON text.
 *
 * @param text The text.
 * @param what Named in the error.
 * @returns The value.
 * @throws {SyntaxError} If it is no JSON.
 */
export function parseJson(text: string, what: string): Json {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError(
      `Cannot read ${what}: expected JSON, found ${JSON.stringify(text.slice(0, 40))}`,
      { cause },
    );
  }
}

/**
 * Takes a JSON value as an object.
 *
 * @param value The value.
 * @param what Named in the error.
 * @returns The value.
 * @throws {SyntaxError} If it is no object.
 */
export function objectOf(value: Json | undefined, what: string): JsonObject {
  if (typeof value !== "object" || value === null || isList(value)) {
    throw unexpected(what, "an object", value);
  }
  return value;
}

/**
 * Takes a JSON value as a number.
 *
 * @param value The value.
 * @param what Named in the error.
 * @returns The value.
 * @throws {SyntaxError} If it is no number.
 */
export function numberOf(value: Json | undefined, what: string): number {
  if (typeof value !== "number") throw unexpected(what, "a number", value);
  return value;
}

/**
 * Takes a JSON value as a text.
 *
 * @param value The value.
 * @param what Named in the error.
 * @returns The value.
 * @throws {SyntaxError} If it is no text.
 */
export function textOf(value: Json | undefined, what: string): string {
  if (typeof value !== "string") throw unexpected(what, "a text", value);
  return value;
}

/**
 * Takes a JSON value as a list of numbers.
 *
 * @param value The value.
 * @param what Named in the error.
 * @returns The numbers.
 * @throws {SyntaxError} If it is no such list.
 */
export function numbersOf(value: Json | undefined, what: string): number[] {
  if (!isList(value)) throw unexpected(what, "a list of numbers", value);
  return value.map((element) => numberOf(element, what));
}

/**
 * Takes a JSON value as a list of texts.
 *
 * @param value The value.
 * @param what Named in the error.
 * @returns The texts.
 * @throws {SyntaxError} If it is no such list.
 */
export function textsOf(value: Json | undefined, what: string): string[] {
  if (!isList(value)) throw unexpected(what, "a list of texts", value);
  return value.map((element) => textOf(element, what));
}

function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

function unexpected(what: string, expected: string, found: Json | undefined): SyntaxError {
  return new SyntaxError(
    `Cannot read ${what}: expected ${expected}, found ${JSON.stringify(found) ?? "nothing"}`,
  );
}

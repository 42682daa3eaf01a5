/**
 * The pieces a configuration's schema is made of: each reads one YAML value and says what it expected otherwise.
 *
 * @module
 */
import { UserError } from "../errors.ts";

/** Where a value stands, for messages, and what is to be told when all is read. */
export interface Place {
  /** File (and what else the values come from). */
  readonly file: string;
  /** Dotted path of the value; empty for the whole file. */
  readonly path: string;
  /** Collects the paths of options that are accepted but have no meaning here. */
  readonly ignored: Set<string>;
  /** Collects what else is to be told, each one sentence. */
  readonly notes: Set<string>;
}

/** A key below a field: its path from the field, and what stands there. */
export interface SchemaEntry {
  /** Path elements as in the YAML file. */
  readonly path: readonly string[];
  /** What may stand there; null for the name of a class and for an option without a meaning here. */
  readonly field: Field<unknown> | null;
}

/** Reads and writes one value of a configuration. */
export interface Field<T> {
  /** What is expected, to follow that word: "a whole number of at least 1". */
  readonly expected: string;
  /** What the option does, in one sentence. */
  readonly doc: string;
  /** The value where the file says nothing; null if it must say something. */
  readonly initial: { readonly value: T } | null;
  /** Checks a YAML value; throws a UserError that names the place. */
  read(value: unknown, place: Place): T;
  /** The YAML value that {@linkcode read} turns into `value`. */
  write(value: T): unknown;
  /** Lists the keys below, given the YAML value that stands here. */
  entries(value: unknown): Iterable<SchemaEntry>;
}

/** What all fields have in common. */
export interface FieldOptions<T> {
  /** What the option does, in one sentence. */
  doc: string;
  /** The value where the file says nothing; without it the key is required. */
  initial?: T;
}

/** A field for numbers. */
export interface NumberOptions extends FieldOptions<number> {
  /** Smallest value. */
  min?: number;
  /** Largest value. */
  max?: number;
}

/**
 * Tells YAML's mappings from its other values.
 *
 * @param value A parsed YAML value.
 * @returns True for a mapping.
 */
export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}

/**
 * Shows a value that was not expected.
 *
 * @param value A parsed YAML value.
 * @returns Its YAML form and its type, shortened.
 */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null (an empty value)";
  if (isMapping(value)) {
    return `a mapping with the keys ${Object.keys(value).join(", ") || "(none)"}`;
  }
  const text = JSON.stringify(value) ?? String(value);
  const short = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  if (Array.isArray(value)) return `the list ${short}`;
  if (typeof value === "number") return String(value);
  return `${short} (a ${typeof value})`;
}

/**
 * Makes the error for a value: `Cannot read config a.yaml: trainer.max_steps: expected …, found …`.
 *
 * @param place Where the value stands.
 * @param problem What was expected and what was found.
 * @returns The error to throw.
 */
export function configError(place: Place, problem: string): UserError {
  const path = place.path === "" ? "" : `${place.path}: `;
  return new UserError(`Cannot read config ${place.file}: ${path}${problem}`);
}

/**
 * The place of a key below another place.
 *
 * @param place Where the mapping stands.
 * @param key The key, or an index as "[0]".
 * @returns The place of the key's value.
 */
export function below(place: Place, key: string): Place {
  const separator = place.path === "" || key.startsWith("[") ? "" : ".";
  return { ...place, path: `${place.path}${separator}${key}` };
}

/** Builds a field without keys below it from a test. */
function leaf<T>(
  expected: string,
  options: FieldOptions<T>,
  accepts: (value: unknown) => value is T,
): Field<T> {
  return {
    expected,
    doc: options.doc,
    initial: options.initial === undefined ? null : { value: options.initial },
    read(value, place) {
      if (accepts(value)) return value;
      throw configError(place, `expected ${expected}, found ${describe(value)}`);
    },
    write: (value) => value,
    entries: () => [],
  };
}

function rangeText(options: NumberOptions): string {
  const { min = -Infinity, max = Infinity } = options;
  if (min > -Infinity && max < Infinity) return ` from ${min} to ${max}`;
  if (min > -Infinity) return ` of at least ${min}`;
  return max < Infinity ? ` of at most ${max}` : "";
}

function inRange(value: number, options: NumberOptions): boolean {
  return value >= (options.min ?? -Infinity) && value <= (options.max ?? Infinity);
}

/**
 * A finite number in a range.
 *
 * @param options Range, meaning, default.
 * @returns The field.
 */
export function number(options: NumberOptions): Field<number> {
  return leaf(
    `a number${rangeText(options)}`,
    options,
    (value): value is number =>
      typeof value === "number" && Number.isFinite(value) && inRange(value, options),
  );
}

/**
 * A whole number in a range.
 *
 * @param options Range, meaning, default.
 * @returns The field.
 */
export function integer(options: NumberOptions): Field<number> {
  return leaf(
    `a whole number${rangeText(options)}`,
    options,
    (value): value is number =>
      typeof value === "number" && Number.isSafeInteger(value) && inRange(value, options),
  );
}

/**
 * A share: a number from 0 to 1.
 *
 * @param options Meaning, default.
 * @returns The field.
 */
export function probability(options: FieldOptions<number>): Field<number> {
  return number({ ...options, min: 0, max: 1 });
}

/**
 * True or false.
 *
 * @param options Meaning, default.
 * @returns The field.
 */
export function boolean(options: FieldOptions<boolean>): Field<boolean> {
  return leaf("true or false", options, (value) => typeof value === "boolean");
}

/**
 * A text that is not empty.
 *
 * @param options Meaning, default.
 * @returns The field.
 */
export function text(options: FieldOptions<string>): Field<string> {
  return leaf(
    "a text",
    options,
    (value): value is string => typeof value === "string" && value !== "",
  );
}

/**
 * One of some texts.
 *
 * @param values The texts.
 * @param options Meaning, default.
 * @returns The field.
 */
export function choice<const T extends string>(
  values: readonly T[],
  options: FieldOptions<T>,
): Field<T> {
  return leaf(
    `one of ${values.join(", ")}`,
    options,
    (value): value is T => values.some((candidate) => candidate === value),
  );
}

/** Options of {@linkcode only}. */
export interface OnlyOptions {
  /** What the option does in the reference. */
  doc: string;
  /** Why no other value is possible here. */
  why: string;
}

/**
 * An option of the reference of which only one value is supported; it is the default.
 *
 * @param supported The value.
 * @param options Meaning, and why no other value is possible.
 * @returns The field.
 */
export function only<const T extends string | number | boolean | null>(
  supported: T,
  options: OnlyOptions,
): Field<T> {
  const expected = `${supported} (${options.why})`;
  return leaf(
    expected,
    { doc: options.doc, initial: supported },
    (value): value is T => value === supported,
  );
}

/**
 * A field that may also be empty.
 *
 * @param field What stands there otherwise; its default becomes this field's, or null if it has none.
 * @returns The field.
 */
export function nullable<T>(field: Field<T>): Field<T | null> {
  return {
    expected: `${field.expected}, or null`,
    doc: field.doc,
    initial: { value: field.initial?.value ?? null },
    read(value, place) {
      if (value === null) return null;
      return field.read(value, place);
    },
    write: (value) => value === null ? null : field.write(value),
    entries: (value) => field.entries(value),
  };
}

/**
 * A field whose value must pass a further test.
 *
 * @param field The field.
 * @param problemOf Says what was expected and what was found; undefined where nothing is wrong.
 * @returns The field.
 */
export function refine<T>(
  field: Field<T>,
  problemOf: (value: T) => string | undefined,
): Field<T> {
  return {
    expected: field.expected,
    doc: field.doc,
    initial: field.initial,
    read(value, place) {
      const result = field.read(value, place);
      const problem = problemOf(result);
      if (problem !== undefined) throw configError(place, problem);
      return result;
    },
    write: (value) => field.write(value),
    entries: (value) => field.entries(value),
  };
}

/** A field for lists. */
export interface ListOptions<T> extends FieldOptions<readonly T[]> {
  /** Smallest number of elements. */
  minLength?: number;
}

/**
 * A list of equal fields.
 *
 * @param element What each element is.
 * @param options Meaning, default, smallest length.
 * @returns The field.
 */
export function list<T>(element: Field<T>, options: ListOptions<T>): Field<readonly T[]> {
  const { minLength = 0, doc, initial } = options;
  const expected = `a list of${
    minLength > 0 ? ` at least ${minLength},` : ""
  } each ${element.expected}`;
  return {
    expected,
    doc,
    initial: initial === undefined ? null : { value: initial },
    read(value, place) {
      if (!Array.isArray(value) || value.length < minLength) {
        throw configError(place, `expected ${expected}, found ${describe(value)}`);
      }
      const elements: unknown[] = value;
      return elements.map((item, index) => element.read(item, below(place, `[${index}]`)));
    },
    write: (value) => value.map((item) => element.write(item)),
    entries: () => [],
  };
}

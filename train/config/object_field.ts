/**
 * Fields with keys below them: mappings, and the reference's pairs of a class and its arguments.
 *
 * @module
 */
import {
  below,
  configError,
  describe,
  type Field,
  isMapping,
  type Place,
  type SchemaEntry,
} from "./field.ts";
import { nearest } from "./nearest.ts";

/** A field a key; the key is the YAML key in camel case. */
export type ObjectFields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

/** Options of {@linkcode object}. */
export interface ObjectOptions {
  /** What the mapping is for, in one sentence. */
  doc: string;
  /** Options of the reference without a meaning here, by YAML key, with the value that deserves no warning. */
  ignored?: Readonly<Record<string, unknown>>;
}

/**
 * Turns a key of TypeScript into one of YAML: `maxSteps` into `max_steps`.
 *
 * @param key Camel case.
 * @returns Snake case.
 */
export function snakeCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function assertKnown(key: string, known: readonly string[], place: Place): void {
  if (known.includes(key)) return;
  const path = below(place, key).path;
  const suggestion = nearest(key, known);
  const guess = suggestion === undefined ? "" : `, the nearest is ${below(place, suggestion).path}`;
  throw configError(
    { ...place, path: "" },
    `unknown key ${path}${guess}; valid keys${place.path === "" ? "" : ` of ${place.path}`}: ${
      known.toSorted().join(", ")
    }`,
  );
}

function sameSimple(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** A mapping whose keys are all known; a key that is missing takes its default. */
class ObjectField<T extends object> implements Field<T> {
  readonly expected: string = "a mapping";
  readonly doc: string;
  readonly #fields: ReadonlyMap<string, { key: keyof T; field: Field<unknown> }>;
  readonly #ignored: ReadonlyMap<string, unknown>;

  constructor(fields: ObjectFields<T>, options: ObjectOptions) {
    this.doc = options.doc;
    const table = new Map<string, { key: keyof T; field: Field<unknown> }>();
    for (const key in fields) {
      table.set(snakeCase(key), { key, field: fields[key] });
    }
    this.#fields = table;
    this.#ignored = new Map(Object.entries(options.ignored ?? {}));
  }

  get initial(): { readonly value: T } | null {
    const value: Partial<T> = {};
    for (const { key, field } of this.#fields.values()) {
      if (field.initial === null) return null;
      Object.assign(value, { [key]: field.initial.value });
    }
    return { value: value as T };
  }

  read(value: unknown, place: Place): T {
    if (!isMapping(value)) {
      throw configError(place, `expected ${this.expected}, found ${describe(value)}`);
    }
    const known = [...this.#fields.keys(), ...this.#ignored.keys()];
    for (const [key, given] of Object.entries(value)) {
      assertKnown(key, known, place);
      if (this.#ignored.has(key) && !sameSimple(given, this.#ignored.get(key))) {
        place.ignored.add(below(place, key).path);
      }
    }
    const result: Partial<T> = {};
    for (const [name, { key, field }] of this.#fields) {
      Object.assign(result, { [key]: readKey(field, value[name], below(place, name)) });
    }
    return result as T;
  }

  write(value: T): unknown {
    return Object.fromEntries(
      Array.from(this.#fields, ([name, { key, field }]) => [name, field.write(value[key])]),
    );
  }

  *entries(value: unknown): Iterable<SchemaEntry> {
    for (const [name, { field }] of this.#fields) {
      yield { path: [name], field };
      const child = isMapping(value) ? value[name] : undefined;
      for (const entry of field.entries(child)) yield { ...entry, path: [name, ...entry.path] };
    }
    for (const name of this.#ignored.keys()) yield { path: [name], field: null };
  }
}

function readKey(field: Field<unknown>, value: unknown, place: Place): unknown {
  if (value !== undefined) return field.read(value, place);
  if (field.initial !== null) return field.initial.value;
  throw configError(place, `expected ${field.expected}, found no such key`);
}

/**
 * A mapping with known keys.
 *
 * @param fields What stands at each key.
 * @param options Meaning, options without a meaning here, irregular keys.
 * @returns The field; its default is the mapping of all defaults, if every key has one.
 */
export function object<T extends object>(
  fields: ObjectFields<T>,
  options: ObjectOptions,
): Field<T> {
  return new ObjectField(fields, options);
}

/** A class by name, and its arguments. */
export interface Instance<Target extends string, Params> {
  /** Our name of the class; the reference's names for it are read as well. */
  readonly target: Target;
  /** Arguments of the class. */
  readonly params: Params;
}

/** One class that may stand at a place. */
export interface Variant<Target extends string, Params> {
  /** Our name of the class. */
  readonly target: Target;
  /** Other names, such as the reference's. */
  readonly aliases: readonly string[];
  /** Arguments of the class. */
  readonly params: Field<Params>;
}

/** Options of {@linkcode instance}. */
export interface InstanceOptions {
  /** What the class is for, in one sentence. */
  doc: string;
  /** The YAML keys: Lightning writes `class_path` and `init_args`, the reference's own loader the other pair. */
  keys: readonly ["class_path", "init_args"] | readonly ["target", "params"];
  /** The class where the file names none. */
  defaultTarget?: string;
}

/** The instances that some variants describe. */
export type InstanceOf<V> = V extends Variant<infer Target, infer Params> ? Instance<Target, Params>
  : never;

/**
 * A class and its arguments.
 *
 * @param variants The classes that may stand here.
 * @param options Meaning, YAML keys, default class.
 * @returns The field; it has no default.
 */
export function instance<const V extends readonly Variant<string, unknown>[]>(
  variants: V,
  options: InstanceOptions,
): Field<InstanceOf<V[number]>> {
  const { doc, keys: [tagKey, paramsKey], defaultTarget } = options;
  const targets = [...new Set(variants.map((variant) => variant.target))];
  const expected = `a mapping of ${tagKey} and ${paramsKey}`;
  const find = (target: unknown): V[number] | undefined =>
    variants.find((variant) =>
      variant.target === target || variant.aliases.some((alias) => alias === target)
    );
  const tagOf = (value: unknown): unknown =>
    (isMapping(value) ? value[tagKey] : undefined) ?? defaultTarget;
  return {
    expected,
    doc,
    initial: null,
    read(value, place) {
      if (!isMapping(value)) {
        throw configError(place, `expected ${expected}, found ${describe(value)}`);
      }
      for (const key of Object.keys(value)) assertKnown(key, [tagKey, paramsKey], place);
      const variant = find(tagOf(value));
      if (variant === undefined) {
        const names = variants.flatMap(({ target, aliases }) => [target, ...aliases]);
        const found = value[tagKey];
        const guess = typeof found === "string" ? `; the nearest is ${nearest(found, names)}` : "";
        throw configError(
          below(place, tagKey),
          `expected one of ${targets.join(", ")} (or the reference's name of it), found ${
            describe(found)
          }${guess}`,
        );
      }
      const params = variant.params.read(value[paramsKey] ?? {}, below(place, paramsKey));
      return { target: variant.target, params } as InstanceOf<V[number]>;
    },
    write: ({ target, params }) => ({
      [tagKey]: target,
      [paramsKey]: find(target)?.params.write(params),
    }),
    *entries(value) {
      yield { path: [tagKey], field: null };
      const variant = find(tagOf(value));
      if (variant === undefined) return;
      yield { path: [paramsKey], field: variant.params };
      const child = isMapping(value) ? value[paramsKey] : undefined;
      for (const entry of variant.params.entries(child)) {
        yield { ...entry, path: [paramsKey, ...entry.path] };
      }
    },
  };
}

/** Files of reference vectors, the tolerance of each tensor, and the report of what agreed. @module */

import { SafetensorsReader } from "../../train/files/safetensors.ts";

/** How far a correct float32 implementation may be off a tensor, from `tolerances.json`. */
export interface VectorTolerance {
  /** Largest difference between the reference's float32 and float64 runs. */
  max_abs: number;
  /** Largest absolute value. */
  scale: number;
}

/** Any JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [key: string]: Json;
};

/** A JSON object. */
export type JsonObject = { readonly [key: string]: Json };

/** Another summation order may be off by this many times what float32 itself was off. */
const SUMMATION_ORDER_FACTOR = 10;
/** And by this share of the tensor's largest value. */
const SCALE_SHARE = 2e-6;
/** Below this scale the gradient is analytically zero and only noise is stored. */
const ZERO_SCALE = 1e-10;
/** What noise around an analytic zero may reach. */
const ZERO_NOISE = 1e-6;

/** One group of tensors in the report. */
export interface GroupResult {
  /** File and group name. */
  name: string;
  /** Error of the tensor that comes closest to (or passes) its tolerance. */
  worstError: number;
  /** Tolerance of that tensor. */
  tolerance: number;
  /** Largest error divided by its tolerance. */
  ratio: number;
  /** Tensors compared. */
  tensors: number;
  /** What else is wrong, if anything. */
  problem?: string;
}

/** One safetensors file of vectors. */
export class VectorFile implements Disposable {
  readonly #reader: SafetensorsReader;
  readonly #tolerances: Readonly<Record<string, VectorTolerance>>;
  readonly #seen = new Set<string>();
  readonly #groups = new Map<string, GroupResult>();
  /** The `config` of the file: sizes, hyper-parameters and row names. */
  readonly config: JsonObject;

  private constructor(
    reader: SafetensorsReader,
    tolerances: Readonly<Record<string, VectorTolerance>>,
    config: JsonObject,
  ) {
    this.#reader = reader;
    this.#tolerances = tolerances;
    this.config = config;
  }

  /**
   * Opens a file.
   *
   * @param reader The file's bytes.
   * @param tolerances Its part of `tolerances.json`.
   * @returns The file.
   * @throws {SyntaxError} If its `config` metadata is missing or not a JSON object.
   */
  static open(
    reader: SafetensorsReader,
    tolerances: Readonly<Record<string, VectorTolerance>>,
  ): VectorFile {
    const text = reader.metadata.get("config");
    if (text === undefined) {
      throw new SyntaxError(`Cannot read ${reader.name}: expected "config" metadata, found none`);
    }
    return new VectorFile(reader, tolerances, objectOf(JSON.parse(text), "config"));
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
  }

  /** Tensor names that start with `prefix`. */
  names(prefix = ""): string[] {
    return [...this.#reader.entries.keys()].filter((name) => name.startsWith(prefix));
  }

  /** Whether the file holds a tensor. */
  has(name: string): boolean {
    return this.#reader.entries.has(name);
  }

  /** Shape of a tensor. @throws {RangeError} If the file does not hold it. */
  shape(name: string): readonly number[] {
    const entry = this.#reader.entries.get(name);
    if (!entry) {
      throw new RangeError(
        `Cannot check ${this.#reader.name}: expected tensor ${name}, found none`,
      );
    }
    return entry.shape;
  }

  /** Reads a tensor that is an input of the check; integers are converted. */
  async input(name: string): Promise<Float32Array> {
    this.shape(name);
    this.#seen.add(name);
    if (this.#reader.entries.get(name)!.dtype === "I32") {
      return Float32Array.from(await this.#reader.int32(name));
    }
    return await this.#reader.float32(name);
  }

  /** Reads a tensor of indices that is an input of the check. */
  async indices(name: string): Promise<Uint32Array> {
    return Uint32Array.from(await this.input(name));
  }

  /** Reads a tensor that is compared later, without counting it as checked. */
  async expected(name: string): Promise<Float32Array> {
    const seen = this.#seen.has(name);
    const data = await this.input(name);
    if (!seen) this.#seen.delete(name);
    return data;
  }

  /**
   * Compares a tensor with what the engine computed.
   *
   * @param name Its name in the file.
   * @param found The engine's numbers, in the file's order of axes.
   * @param options `group`: line of the report, default the name itself; `only`: the elements to compare, default all;
   * `zero`: the tensor is analytically zero and only noise is stored.
   */
  async compare(
    name: string,
    found: ArrayLike<number>,
    options: { group?: string; only?: (index: number) => boolean; zero?: boolean } = {},
  ): Promise<void> {
    const expected = await this.input(name);
    const integer = this.#reader.entries.get(name)!.dtype === "I32";
    const scale = expected.reduce(
      (most, value) => Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most,
      0,
    );
    const entry = this.#tolerances[name];
    let tolerance = SUMMATION_ORDER_FACTOR * (entry?.max_abs ?? 0) +
      SCALE_SHARE * (entry?.scale ?? scale);
    if (options.zero || (scale < ZERO_SCALE && !integer)) tolerance = ZERO_NOISE;
    if (integer) tolerance = 0;
    let error = 0;
    const zero = tolerance === ZERO_NOISE;
    for (let i = 0; i < expected.length; i++) {
      if (options.only && !options.only(i)) continue;
      const difference = found[i] === expected[i]
        ? 0
        : zero
        ? Math.abs(found[i]!)
        : Math.abs(found[i]! - expected[i]!);
      if (!(difference <= error)) error = Number.isNaN(difference) ? Infinity : difference;
    }
    const problem = found.length === expected.length
      ? undefined
      : `expected ${expected.length} numbers, found ${found.length}`;
    this.#add(options.group ?? name, error, tolerance, problem);
  }

  /** Adds a check that is not a tensor of the file, such as a parameter count. */
  check(group: string, error: number, tolerance: number): void {
    this.#add(group, error, tolerance, undefined);
  }

  /** Marks tensors as checked in another form, or as not to be reproduced. */
  skip(...names: string[]): void {
    for (const name of names) this.#seen.add(name);
  }

  /**
   * Ends the check of the file.
   *
   * @returns One result a group; tensors that nothing looked at are a failure of their own.
   */
  finish(): GroupResult[] {
    const forgotten = this.names().filter((name) =>
      !this.#seen.has(name) && !name.startsWith("INFO.")
    );
    if (forgotten.length > 0) {
      this.#add(
        "tensors without a check",
        Infinity,
        0,
        `${forgotten.length}: ${forgotten.slice(0, 5).join(", ")} …`,
      );
    }
    return [...this.#groups.values()];
  }

  #add(name: string, error: number, tolerance: number, problem: string | undefined): void {
    const ratio = error === 0 ? 0 : error / Math.max(tolerance, Number.MIN_VALUE);
    const group = this.#groups.get(name) ??
      { name, worstError: 0, tolerance, ratio: -1, tensors: 0 };
    group.tensors++;
    if (ratio > group.ratio) Object.assign(group, { worstError: error, tolerance, ratio });
    if (problem) group.problem = problem;
    this.#groups.set(name, group);
  }
}

/** Takes a JSON value as an object. @throws {SyntaxError} If it is not one. */
export function objectOf(value: Json | undefined, what: string): JsonObject {
  if (typeof value !== "object" || value === null || isList(value)) {
    throw new SyntaxError(
      `Cannot read ${what}: expected an object, found ${JSON.stringify(value)}`,
    );
  }
  return value;
}

/** Takes a JSON value as a number. @throws {SyntaxError} If it is not one. */
export function numberOf(value: Json | undefined, what: string): number {
  if (typeof value !== "number") {
    throw new SyntaxError(`Cannot read ${what}: expected a number, found ${JSON.stringify(value)}`);
  }
  return value;
}

/** Takes a JSON value as a list of numbers. @throws {SyntaxError} If it is not one. */
export function numbersOf(value: Json | undefined, what: string): number[] {
  if (!isList(value)) {
    throw new SyntaxError(`Cannot read ${what}: expected a list, found ${JSON.stringify(value)}`);
  }
  return value.map((element) => numberOf(element, what));
}

/** Takes a JSON value as a list of texts. @throws {SyntaxError} If it is not one. */
export function textsOf(value: Json | undefined, what: string): string[] {
  if (!isList(value)) {
    throw new SyntaxError(`Cannot read ${what}: expected a list, found ${JSON.stringify(value)}`);
  }
  return value.map((element) => {
    if (typeof element !== "string") {
      throw new SyntaxError(`Cannot read ${what}: expected text, found ${element}`);
    }
    return element;
  });
}

function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

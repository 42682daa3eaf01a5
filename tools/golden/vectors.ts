/** Files of reference vectors: their tensors, the tolerance of each, and the record of what was compared. @module */

import type { FileTensor } from "../../models/weights.ts";
import type { SafetensorsReader } from "../../train/files/safetensors.ts";
import { distance } from "./difference.ts";
import { type JsonObject, objectOf, parseJson } from "./json.ts";
import { allowanceOf, type Tolerances } from "./tolerances.ts";

/** One line of the report: a group of compared tensors. */
export interface GroupResult {
  /** Name of the group. */
  name: string;
  /** Largest error of the tensor that is closest to its tolerance, or furthest past it. */
  error: number;
  /** Tolerance of that tensor. */
  tolerance: number;
  /** Whether every tensor of the group is within its tolerance. */
  passed: boolean;
  /** What is wrong besides numbers, if anything. */
  problem: string | undefined;
}

/** Options of {@linkcode VectorFile.compare}. */
export interface CompareOptions {
  /** Line of the report; default: the tensor's name. */
  group?: string;
  /** Whether an element is compared; default: all are. */
  only?: (index: number) => boolean;
  /** Applied to the file's numbers before the comparison; the engine's have had the same done to them. */
  transform?: (expected: Float32Array) => Float32Array;
  /** Whether the tensor is analytically zero, so that the file stores noise. Default: decided by its scale. */
  zero?: boolean;
}

/** One safetensors file of vectors. Every tensor has to be read as an input, compared or left out by name before the end. */
export class VectorFile implements Disposable {
  readonly #reader: SafetensorsReader;
  readonly #tolerances: Tolerances;
  readonly #seen = new Set<string>();
  readonly #groups = new Map<string, GroupResult>();
  /** The `config` of the file: sizes, hyper-parameters, names of rows. */
  readonly config: JsonObject;

  /**
   * @param reader The open file, which this object closes.
   * @param tolerances Its part of `tolerances.json`.
   * @throws {SyntaxError} If its `config` metadata is missing or no JSON object.
   */
  constructor(reader: SafetensorsReader, tolerances: Tolerances) {
    this.#reader = reader;
    this.#tolerances = tolerances;
    const text = reader.metadata.get("config");
    const what = `the config metadata of ${reader.name}`;
    this.config = objectOf(text === undefined ? undefined : parseJson(text, what), what);
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#reader.close();
  }

  /**
   * Lists tensors.
   *
   * @param prefix What their names start with.
   * @returns Their names.
   */
  names(prefix = ""): string[] {
    return [...this.#reader.entries.keys()].filter((name) => name.startsWith(prefix));
  }

  /**
   * Says whether the file has a tensor.
   *
   * @param name Its name.
   * @returns Whether it is there.
   */
  has(name: string): boolean {
    return this.#reader.has(name);
  }

  /**
   * Shape of a tensor.
   *
   * @param name Its name.
   * @returns Extents in the file's order of axes.
   * @throws {UserError} If the file has no such tensor.
   */
  shape(name: string): readonly number[] {
    return this.#reader.entry(name).shape;
  }

  /**
   * Says whether a tensor holds integers.
   *
   * @param name Its name.
   * @returns Whether it does.
   * @throws {UserError} If the file has no such tensor.
   */
  isInteger(name: string): boolean {
    return this.#reader.entry(name).dtype === "I32";
  }

  /**
   * Reads a tensor that goes into the engine.
   *
   * @param name Its name.
   * @returns Its elements; integers as numbers.
   * @throws {UserError} If the file has no such tensor.
   */
  async input(name: string): Promise<Float32Array> {
    this.#seen.add(name);
    return await this.expected(name);
  }

  /**
   * Reads a tensor of indices that goes into the engine.
   *
   * @param name Its name.
   * @returns Its elements.
   * @throws {UserError} If the file has no such tensor, or it holds no integers.
   */
  async indices(name: string): Promise<Uint32Array> {
    this.#seen.add(name);
    return Uint32Array.from(await this.#reader.int32(name));
  }

  /**
   * Reads the tensors below a prefix as inputs, such as the weights of a model.
   *
   * @param prefix What their names start with.
   * @returns Tensors by the rest of their names.
   */
  async state(prefix: string): Promise<Map<string, FileTensor>> {
    const state = new Map<string, FileTensor>();
    for (const name of this.names(prefix)) {
      state.set(name.slice(prefix.length), {
        shape: this.shape(name),
        data: await this.input(name),
      });
    }
    return state;
  }

  /**
   * Reads a tensor without counting it as looked at.
   *
   * @param name Its name.
   * @returns Its elements; integers as numbers.
   * @throws {UserError} If the file has no such tensor.
   */
  async expected(name: string): Promise<Float32Array> {
    return this.isInteger(name)
      ? Float32Array.from(await this.#reader.int32(name))
      : await this.#reader.float32(name);
  }

  /**
   * Compares a tensor with what the engine computed: `|found − expected| ≤ 10 maxAbs + 2e-6 scale`, integers exactly.
   *
   * @param name Its name.
   * @param found The engine's numbers, in the file's order of axes.
   * @param options Group, elements, analytic zero.
   * @throws {UserError} If the file has no such tensor.
   */
  async compare(
    name: string,
    found: ArrayLike<number>,
    options: CompareOptions = {},
  ): Promise<void> {
    const { group = name, only, transform } = options;
    const stored = await this.input(name);
    const expected = transform ? transform(stored) : stored;
    const { tolerance, zero } = this.isInteger(name)
      ? { tolerance: 0, zero: false }
      : allowanceOf(this.#tolerances.get(name), expected, options.zero);
    let error = 0;
    for (let i = 0; i < expected.length; i++) {
      if (only && !only(i)) continue;
      const difference = distance(found[i] ?? NaN, zero ? 0 : expected[i] ?? NaN);
      if (difference > error) error = difference;
    }
    this.check(group, error, tolerance);
    if (found.length !== expected.length) {
      this.fail(group, `${name}: expected ${expected.length} numbers, found ${found.length}`);
    }
  }

  /**
   * Records a check, of a tensor or of anything else.
   *
   * @param group Line of the report.
   * @param error How far the engine is off.
   * @param tolerance How far it may be.
   */
  check(group: string, error: number, tolerance: number): void {
    const passed = error <= tolerance;
    const known = this.#groups.get(group);
    const nearer = !known || ratioOf(error, tolerance) > ratioOf(known.error, known.tolerance);
    this.#groups.set(group, {
      name: group,
      error: nearer ? error : known.error,
      tolerance: nearer ? tolerance : known.tolerance,
      passed: passed && (known?.passed ?? true),
      problem: known?.problem,
    });
  }

  /**
   * Records that something is wrong.
   *
   * @param group Line of the report.
   * @param problem What.
   */
  fail(group: string, problem: string): void {
    this.check(group, Infinity, 0);
    const result = this.#groups.get(group);
    if (result) result.problem ??= problem;
  }

  /**
   * Counts tensors as looked at, because something equivalent is compared in their place.
   *
   * @param names Their names.
   */
  skip(...names: string[]): void {
    for (const name of names) this.#seen.add(name);
  }

  /**
   * Ends the check of the file. Tensors that nothing looked at fail, but those that need not be reproduced.
   *
   * @returns The lines of the report.
   */
  finish(): GroupResult[] {
    const forgotten = this.names().filter((name) =>
      !this.#seen.has(name) && !name.startsWith("INFO.")
    );
    if (forgotten.length > 0) {
      const shown = forgotten.slice(0, 5).join(", ") + (forgotten.length > 5 ? ", …" : "");
      this.fail("tensors without a check", `${forgotten.length}: ${shown}`);
    }
    return [...this.#groups.values()];
  }
}

/** An error in units of its tolerance. */
function ratioOf(error: number, tolerance: number): number {
  return error === 0 ? 0 : error / Math.max(tolerance, Number.MIN_VALUE);
}

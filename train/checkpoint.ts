/** Checkpoints of a run: parameters and training state by name, in the reference's layout, replaced only when complete. @module */

import { fileShape, toFileLayout, writeFileTensor } from "../models/weights.ts";
import type { Parameter } from "../nn/tensor.ts";
import { UserError } from "./errors.ts";
import { openTensors } from "./files/open_tensors.ts";
import { type TensorSource, writeSafetensors } from "./files/safetensors.ts";
import { readFloat32, type TensorFile } from "./files/tensor_file.ts";
import { describeLoad, problemsOf, someOf, type WeightsReport } from "./load_report.ts";

/** One tensor of a checkpoint. */
export interface CheckpointEntry {
  /** Name in the file: the reference's name of a weight, or a name of the training state. */
  readonly name: string;
  /** Where the elements are. */
  readonly parameter: Parameter;
  /** Whose order of axes the file has; default `parameter`. An optimizer's moments follow their weight. */
  readonly layout?: Parameter;
}

/** Text by key beside the tensors: counters, keys of random numbers, the resolved configuration. */
export type CheckpointMetadata = Readonly<Record<string, string>>;

/** How {@linkcode loadCheckpoint} reads. */
export interface LoadCheckpointOptions {
  /** Value that the `format` of the file must have. Files of others have none, which is fine where a part is taken. */
  readonly format: string;
  /** Whether tensors that nobody asks for are refused; false to take a part of a checkpoint. Default true. */
  readonly complete?: boolean;
  /** Whether what does not fit is only reported: the parameters without a tensor keep their values. Default false. */
  readonly partial?: boolean;
  /** Names that the model has beside those asked for, such as of weights whose averages are taken. */
  readonly known?: Iterable<string>;
  /** What the tensors are, for the report. Default "tensors". */
  readonly weights?: string;
  /** Gets the report: one line, also where the file is refused. */
  readonly say?: (line: string) => void;
}

/**
 * Writes a checkpoint. Tensors are read from the GPU a few at a time; a file of this name is replaced only when the new one is
 * complete and flushed.
 *
 * @param path The file.
 * @param entries Its tensors.
 * @param metadata Its text; `format` names the kind of checkpoint.
 * @returns Size of the file in bytes.
 * @throws {UserError} If the file cannot be written, such as on a full disk; the old one is untouched then.
 */
export async function saveCheckpoint(
  path: string,
  entries: Iterable<CheckpointEntry>,
  metadata: CheckpointMetadata,
): Promise<number> {
  const wanted = [...entries];
  const reader = new GroupedReader(wanted);
  const tensors = wanted.map(({ name, parameter, layout = parameter }): TensorSource => ({
    name,
    dtype: "F32",
    shape: fileShape(layout),
    data: async () => toFileLayout(layout, await reader.read(name)),
  }));
  return await writeSafetensors(path, tensors, { metadata });
}

/** Bytes that are read from the GPU at once: a wait takes longer than the copy of a small tensor. */
const GROUP_BYTES = 2 ** 24;

/** Reads parameters in the order of their names, which is that of the file, some at once. */
class GroupedReader {
  #left: CheckpointEntry[];
  #group = new Map<string, Float32Array<ArrayBuffer>>();

  constructor(entries: readonly CheckpointEntry[]) {
    this.#left = entries.toSorted((a, b) => a.name < b.name ? -1 : 1);
  }

  async read(name: string): Promise<Float32Array<ArrayBuffer>> {
    if (!this.#group.has(name)) await this.#readGroup();
    const elements = this.#group.get(name);
    if (!elements) throw new Error(`Cannot read ${name}: expected the file's order of tensors`);
    this.#group.delete(name);
    return elements;
  }

  async #readGroup(): Promise<void> {
    let bytes = 0;
    const end = this.#left.findIndex(({ parameter }) =>
      (bytes += 4 * parameter.size) > GROUP_BYTES
    );
    const group = this.#left.splice(0, end < 0 ? this.#left.length : Math.max(1, end));
    const [first] = group;
    if (!first) return;
    const parts = await first.parameter.gpu.read(group.map(({ parameter }) => parameter.storage));
    for (const [i, { name, parameter }] of group.entries()) {
      // Counters of batch norm are integers on the GPU; a file of one element type is simpler to read elsewhere.
      const elements = parameter.dtype === "u32"
        ? Float32Array.from(new Uint32Array(parts[i]!))
        : new Float32Array(parts[i]!);
      this.#group.set(name, elements);
    }
  }
}

/**
 * Reads a checkpoint into parameters, whatever format it has. Everything is compared before anything is written, so a refused file
 * changes nothing.
 *
 * @param source The path of the file, or the open file.
 * @param entries Tensors to fill.
 * @param options Expected format, whether the file may hold more or less, and where the report goes.
 * @returns The file's text.
 * @throws {UserError} If the file is not a checkpoint of this format, is cut short, lacks a tensor, or one has another shape.
 */
export async function loadCheckpoint(
  source: string | TensorFile,
  entries: Iterable<CheckpointEntry>,
  options: LoadCheckpointOptions,
): Promise<CheckpointMetadata> {
  using opened = typeof source === "string" ? await openTensors(source) : undefined;
  const file = typeof source === "string" ? opened! : source;
  const wanted = [...entries];
  const loaded = new Set(checkCheckpoint(file, wanted, options).loaded);
  for (const { name, parameter, layout = parameter } of wanted) {
    if (loaded.has(name)) writeFileTensor(parameter, await readFloat32(file, name), layout);
  }
  return Object.fromEntries(file.metadata);
}

/**
 * Compares a checkpoint with what would be filled, and fills nothing.
 *
 * @param file The file.
 * @param entries Tensors to fill, or outlines of them.
 * @param options Expected format, whether the file may hold more or less, and where the report goes.
 * @returns What fits.
 * @throws {UserError} If the file is not a checkpoint of this format, lacks a tensor, or one has another shape.
 */
export function checkCheckpoint(
  file: TensorFile,
  entries: Iterable<CheckpointEntry>,
  options: LoadCheckpointOptions,
): WeightsReport {
  const { complete = true, partial = false, say } = options;
  const metadata = Object.fromEntries(file.metadata);
  if (metadata.format !== options.format && (complete || metadata.format !== undefined)) {
    throw new UserError(
      `Cannot load ${file.name}: expected a checkpoint of format ${options.format}, found ${
        metadata.format ??
          "no format: a training goes on from checkpoints of a run or of the reference's trainer, ckpt_path of the model starts one with other weights"
      }`,
    );
  }
  const report = compareWeights(file, entries, options);
  say?.(describeLoad(file.name, report, options.weights));
  if (!partial) assertComplete(file.name, report);
  return report;
}

/**
 * Refuses weights that lack something.
 *
 * @param path Their file.
 * @param report What was found.
 * @throws {UserError} If a tensor is missing, unexpected or misshapen: the message names the first of them.
 */
export function assertComplete(path: string, report: WeightsReport): void {
  const problems = problemsOf(report);
  if (problems.length === 0) return;
  throw new UserError(
    `Cannot load ${path}: expected the tensors of the configured model, found that ${
      someOf(problems)
    }`,
  );
}

/**
 * Reads only the text of a checkpoint.
 *
 * @param path The file.
 * @returns The text by key.
 * @throws {UserError} If the file holds no weights.
 */
export async function readCheckpointMetadata(path: string): Promise<CheckpointMetadata> {
  using file = await openTensors(path);
  return Object.fromEntries(file.metadata);
}

/**
 * Compares names and shapes of a file with those of a model.
 *
 * @param file The file.
 * @param entries What the model wants of it.
 * @param options Whether the file may hold more, and what else the model has.
 * @returns What fits and what not.
 */
export function compareWeights(
  file: TensorFile,
  entries: Iterable<CheckpointEntry>,
  options: Pick<LoadCheckpointOptions, "complete" | "known"> = {},
): WeightsReport {
  const { complete = true } = options;
  const wanted = [...entries];
  const report: WeightsReport = {
    loaded: [],
    missing: [],
    unexpected: [],
    mismatched: [],
    aside: [],
  };
  // A weight and the average that starts from it are one tensor of the file.
  const once = new Map(wanted.map((entry) => [entry.name, entry]));
  for (const { name, parameter, layout = parameter } of once.values()) {
    const found = file.entries.get(name)?.shape;
    const expected = fileShape(layout);
    if (!found) report.missing.push(name);
    else if (found.join() === expected.join()) report.loaded.push(name);
    else report.mismatched.push({ name, expected, found });
  }
  const known = new Set([...once.keys(), ...options.known ?? []]);
  // A tensor of a module that the model has, but that the model does not have, means another model.
  const modules = new Set([...known].filter((name) => name.includes(".")).map(moduleOf));
  // Which module an average belongs to does not show in its name.
  modules.delete("model_ema");
  for (const name of file.entries.keys()) {
    if (once.has(name)) continue;
    const foreign = complete || (!known.has(name) && modules.has(moduleOf(name)));
    (foreign ? report.unexpected : report.aside).push(name);
  }
  return report;
}

/** The module that a tensor belongs to: the first part of its name. */
function moduleOf(name: string): string {
  return name.split(".", 1)[0]!;
}

/**
 * Takes a counter from the text of a checkpoint.
 *
 * @param metadata The text.
 * @param key Name of the counter.
 * @param path The file, for messages.
 * @returns A whole number of at least 0.
 * @throws {UserError} If there is no such number.
 */
export function readCount(metadata: CheckpointMetadata, key: string, path: string): number {
  const count = Number(metadata[key] ?? NaN);
  if (Number.isSafeInteger(count) && count >= 0) return count;
  throw new UserError(
    `Cannot load ${path}: expected a whole number ${key}, found ${metadata[key] ?? "none"}`,
  );
}

/**
 * Takes values by name from the text of a checkpoint.
 *
 * @param metadata The text.
 * @param key Under which the values are kept as JSON.
 * @param path The file, for messages.
 * @returns The parsed value.
 * @throws {UserError} If there is no such text, or it is no JSON.
 */
export function readJson(metadata: CheckpointMetadata, key: string, path: string): unknown {
  try {
    return JSON.parse(metadata[key] ?? "");
  } catch (cause) {
    throw new UserError(
      `Cannot load ${path}: expected JSON as ${key}, found ${metadata[key] ?? "none"}`,
      { cause },
    );
  }
}

/**
 * Takes an optimizer's step counts from the text of a checkpoint.
 *
 * @param metadata The text.
 * @param key Under which they are kept.
 * @param path The file, for messages.
 * @returns Counts by name of the parameter.
 * @throws {UserError} If there are none.
 */
export function readStepCounts(
  metadata: CheckpointMetadata,
  key: string,
  path: string,
): Record<string, number> {
  const counts = readJson(metadata, key, path);
  if (typeof counts === "object" && counts !== null) {
    return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, Number(count)]));
  }
  throw new UserError(`Cannot load ${path}: expected counts as ${key}, found ${counts}`);
}

/** Checkpoints of a run: parameters and training state by name, in the reference's layout, replaced only when complete. @module */

import { fileShape, toFileLayout, writeFileTensor } from "../models/weights.ts";
import type { Parameter } from "../nn/tensor.ts";
import { UserError } from "./errors.ts";
import { SafetensorsReader, type TensorSource, writeSafetensors } from "./files/safetensors.ts";

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
  /** Value that the `format` of the file must have. */
  readonly format: string;
  /** Whether tensors that nobody asks for are refused; false to take a part of a checkpoint. Default true. */
  readonly complete?: boolean;
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
 * Reads a checkpoint into parameters. Everything is compared before anything is written, so a refused file changes nothing.
 *
 * @param path The file.
 * @param entries Tensors to fill.
 * @param options Expected format, and whether the file may hold more.
 * @returns The file's text.
 * @throws {UserError} If the file is not a checkpoint of this format, is cut short, lacks a tensor, or one has another shape.
 */
export async function loadCheckpoint(
  path: string,
  entries: Iterable<CheckpointEntry>,
  options: LoadCheckpointOptions,
): Promise<CheckpointMetadata> {
  using file = await SafetensorsReader.open(path);
  const metadata = Object.fromEntries(file.metadata);
  if (metadata.format !== options.format) {
    throw new UserError(
      `Cannot load ${path}: expected a checkpoint of format ${options.format}, found ${
        metadata.format ?? "no format"
      }`,
    );
  }
  const wanted = [...entries];
  const problems: string[] = [];
  for (const { name, parameter, layout = parameter } of wanted) {
    const entry = file.entries.get(name);
    const shape = fileShape(layout);
    if (!entry) problems.push(`${name} is missing`);
    else if (entry.shape.join() !== shape.join()) {
      problems.push(`${name} has shape [${entry.shape}] instead of [${shape}]`);
    }
  }
  if (options.complete ?? true) {
    const names = new Set(wanted.map(({ name }) => name));
    for (const name of file.entries.keys()) {
      if (!names.has(name)) problems.push(`${name} is unknown to this model`);
    }
  }
  if (problems.length > 0) {
    const more = problems.length > 5 ? `, and ${problems.length - 5} more` : "";
    throw new UserError(
      `Cannot load ${path}: expected the tensors of the configured model, found that ${
        problems.slice(0, 5).join(", ")
      }${more}`,
    );
  }
  for (const { name, parameter, layout = parameter } of wanted) {
    const data = await file.float32(name);
    writeFileTensor(parameter, data, layout);
  }
  return metadata;
}

/**
 * Reads only the text of a checkpoint.
 *
 * @param path The file.
 * @returns The text by key.
 * @throws {UserError} If the file is not a safetensors file.
 */
export async function readCheckpointMetadata(path: string): Promise<CheckpointMetadata> {
  using file = await SafetensorsReader.open(path);
  return Object.fromEntries(file.metadata);
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

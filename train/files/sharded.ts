/**
 * Weights in several safetensors files with an index, as the Hugging Face libraries write them.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { FileSource, malformed, show } from "./byte_source.ts";
import { SafetensorsReader } from "./safetensors_reader.ts";
import type { TensorLayout } from "./safetensors_format.ts";
import type { TensorFile } from "./tensor_file.ts";

/** Largest index. */
const MAX_INDEX_BYTES = 2 ** 26;
/** Most files of an index; each stays open. */
const MAX_SHARDS = 512;

/** Several open files as one. The headers are read and checked at once, each tensor when it is asked for. */
export class ShardedReader implements TensorFile {
  /** Path of the index. */
  readonly name: string;
  /** Type and shape of each tensor by its name. */
  readonly entries: ReadonlyMap<string, TensorLayout>;
  /** Texts of the index. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly #shards: ReadonlyMap<string, SafetensorsReader>;
  readonly #index: Index;

  private constructor(
    name: string,
    index: Index,
    shards: ReadonlyMap<string, SafetensorsReader>,
  ) {
    this.name = name;
    this.metadata = index.metadata;
    this.#index = index;
    this.#shards = shards;
    const entries = new Map<string, TensorLayout>();
    for (const [tensor, file] of index.files) entries.set(tensor, shards.get(file)!.entry(tensor));
    this.entries = entries;
  }

  /**
   * Opens an index and its files.
   *
   * @param path The index, such as `model.safetensors.index.json`; its files are beside it.
   * @returns The open files; dispose of them after use.
   * @throws {UserError} If a file cannot be read or lacks a tensor.
   */
  static async open(path: string): Promise<ShardedReader> {
    const index = await readIndex(path);
    const shards = new Map<string, SafetensorsReader>();
    try {
      for (const file of new Set(index.files.values())) {
        shards.set(file, await SafetensorsReader.open(join(dirname(path), file)));
      }
      return new ShardedReader(path, index, shards);
    } catch (error) {
      for (const shard of shards.values()) shard.close();
      throw error;
    }
  }

  /**
   * Names an index and its files.
   *
   * @param path The index.
   * @returns Their paths, the index first.
   * @throws {UserError} If the index cannot be read.
   */
  static async files(path: string): Promise<string[]> {
    const { files } = await readIndex(path);
    return [path, ...[...new Set(files.values())].map((file) => join(dirname(path), file))];
  }

  /** Reads a tensor from its file. */
  async bytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const shard = this.#shards.get(this.#index.files.get(name) ?? "");
    if (!shard) throw malformed(this.name, `expected a tensor ${show(name)}, found none`);
    return await shard.bytes(name);
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const shard of this.#shards.values()) shard.close();
  }
}

/** What an index says. */
interface Index {
  /** File of each tensor. */
  readonly files: ReadonlyMap<string, string>;
  readonly metadata: ReadonlyMap<string, string>;
}

async function readIndex(path: string): Promise<Index> {
  const source = await FileSource.open(path);
  let value: unknown;
  try {
    if (source.sizeBytes > MAX_INDEX_BYTES) {
      throw malformed(
        path,
        `expected an index of at most ${MAX_INDEX_BYTES} bytes, found ${source.sizeBytes}`,
      );
    }
    value = parse(new TextDecoder().decode(await source.read(0, source.sizeBytes)));
  } finally {
    source.close();
  }
  const { weight_map: map, metadata } = isRecord(value) ? value : {};
  if (!isRecord(map)) {
    throw malformed(path, "expected a JSON object with a weight_map, found something else");
  }
  const files = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    const isName = typeof file === "string" && file !== "" && file === basename(file) &&
      !/[\\/]|^\.\.?$/.test(file);
    if (!isName) {
      throw malformed(
        path,
        `expected the name of a file beside it for ${show(name)}, found ${show(file)}`,
      );
    }
    files.set(name, file);
  }
  const shards = new Set(files.values()).size;
  if (shards === 0 || shards > MAX_SHARDS) {
    throw malformed(path, `expected 1 to ${MAX_SHARDS} files, found ${shards}`);
  }
  const texts = Object.entries(isRecord(metadata) ? metadata : {});
  return { files, metadata: new Map(texts.map(([key, text]) => [key, String(text)])) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // What is no JSON has no weight_map either.
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

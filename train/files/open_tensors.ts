/**
 * Opens files of weights by what they are, not by what they are called.
 *
 * @module
 */
import { join } from "node:path";
import { type ByteSource, FileSource, malformed } from "./byte_source.ts";
import { fileError } from "./file_error.ts";
import { SafetensorsReader } from "./safetensors_reader.ts";
import { ShardedReader } from "./sharded.ts";
import type { TensorFile } from "./tensor_file.ts";
import { TorchReader } from "./torch_reader.ts";

const INDEX_SUFFIX = ".safetensors.index.json";
/** Enough to tell the formats: the length of a safetensors header is followed by the header's brace. */
const HEAD_BYTES = 9;

/**
 * Opens weights: a safetensors file, the index of several, the folder of such an index, or a checkpoint of PyTorch.
 *
 * @param path The file or folder.
 * @returns The open file; dispose of it after use.
 * @throws {UserError} If it cannot be read, is damaged, or is none of these.
 */
export async function openTensors(path: string): Promise<TensorFile> {
  const index = await indexOf(path);
  if (index !== undefined) return await ShardedReader.open(index);
  return await openTensorSource(await FileSource.open(path));
}

/**
 * Names the files that weights are in.
 *
 * @param path As for {@linkcode openTensors}.
 * @returns The file itself, or an index and its files.
 * @throws {UserError} If there is no such file.
 */
export async function tensorFiles(path: string): Promise<string[]> {
  const index = await indexOf(path);
  return index === undefined ? [path] : await ShardedReader.files(index);
}

async function indexOf(path: string): Promise<string | undefined> {
  if (await isFolder(path)) return await findIndex(path);
  return path.endsWith(".json") ? path : undefined;
}

/**
 * Opens weights that are in one file.
 *
 * @param source The file; closed with what is returned, or if it is refused.
 * @returns The open file.
 * @throws {UserError} If it is damaged, or no file of weights.
 */
export async function openTensorSource(source: ByteSource): Promise<TensorFile> {
  const { name, sizeBytes } = source;
  const head = await source.read(0, Math.min(HEAD_BYTES, sizeBytes));
  const isSafetensors = head[8] === 0x7b && head[7] === 0 && head[6] === 0;
  if (isSafetensors || name.endsWith(".safetensors")) {
    return await SafetensorsReader.fromSource(source);
  }
  const isZip = head[0] === 0x50 && head[1] === 0x4b;
  const isPickle = head[0] === 0x80;
  if (isZip || isPickle) return await TorchReader.fromSource(source);
  source.close();
  throw malformed(
    name,
    `expected a safetensors file or a PyTorch checkpoint, found ${
      sizeBytes === 0 ? "an empty file" : "neither"
    }`,
  );
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
}

async function findIndex(folder: string): Promise<string> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(INDEX_SUFFIX)) found.push(name);
  }
  if (found.length === 1) return join(folder, found[0]!);
  throw malformed(folder, `expected one *${INDEX_SUFFIX} in it, found ${found.length || "none"}`);
}

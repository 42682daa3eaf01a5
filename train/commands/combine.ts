/** `deno task combine`: the images of all chunks in one shuffled file. @module */

import { join } from "node:path";
import { hashedPermutation } from "../../models/hash.ts";
import { UserError } from "../errors.ts";
import { temporaryPath } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { type NpzEntry, NpzReader, writeNpz } from "../files/npz.ts";
import { printResult, type Reporter } from "../log.ts";

/** What the command line says. */
export interface CombineCommand {
  /** Folder of the chunks; the combined file goes there as well. */
  readonly folder: string;
  /** Seed of the order. */
  readonly seed: number;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Name of the combined file, which is never an input. */
const COMBINED = "sample.npz";
/** Name of the array of images in every file. */
const IMAGES = "arr_0";

/** The images of one file, each readable by itself. */
interface Chunk {
  readonly path: string;
  /** Number of images. */
  readonly count: number;
  /** Gives the bytes of an image. */
  readonly read: (index: number) => Promise<Uint8Array>;
}

/**
 * Combines.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If there are no files, one is damaged, or their images differ in size.
 */
export async function runCombine(command: CombineCommand): Promise<number> {
  printResult(await combineChunks(command));
  return 0;
}

/**
 * Combines the images of all `.npz` files of a folder in a random order that depends on the seed alone. Every file is read once to
 * check its sums, then image by image: no more than an image and a chunk are in memory.
 *
 * @param command What the command line says.
 * @returns Path of the combined file.
 * @throws {UserError} If there are no files, one is damaged, or their images differ in size.
 * @see SEED-Voken combine_npz.py, which would also take an earlier `sample.npz` for an input.
 */
export async function combineChunks(command: CombineCommand): Promise<string> {
  const { folder, seed, reporter } = command;
  const paths = await chunkPaths(folder);
  for (const warning of gaps(paths)) reporter.warn(warning);
  await using resources = new AsyncDisposableStack();
  const chunks: Chunk[] = [];
  const entries: NpzEntry[] = [];
  for (const [i, path] of paths.entries()) {
    const reader = resources.use(await NpzReader.open(path));
    const entry = reader.entry(IMAGES);
    entries.push(entry);
    checkImages(path, entry, entries[0]!);
    reporter.info(`${i + 1} of ${paths.length}: ${path}, ${entry.shape[0]} images`);
    chunks.push(await openChunk(reader, entry, resources));
  }
  const counts = chunks.map(({ count }) => count);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const path = join(folder, COMBINED);
  const { dtype, shape } = entries[0]!;
  const data = shuffled(chunks, hashedPermutation(total, seed));
  await writeNpz(path, [{ name: IMAGES, dtype, shape: [total, ...shape.slice(1)], data }]);
  reporter.info(`${total} images`);
  return path;
}

/** The files of a folder, by the numbers in their names. */
async function chunkPaths(folder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const taken = !isDirectory && name.endsWith(".npz") && name !== COMBINED;
      if (taken && !name.startsWith(".")) names.push(name);
    }
  } catch (cause) {
    throw fileError(`read ${folder}`, cause);
  }
  if (names.length === 0) {
    throw new UserError(
      `Cannot combine ${folder}: expected samples_0.npz and so on, found no file that ends in .npz`,
    );
  }
  const order = new Intl.Collator("en", { numeric: true });
  return names.sort(order.compare).map((name) => join(folder, name));
}

/** Tells which chunks between the first and the last are not there. */
function gaps(paths: readonly string[]): string[] {
  const numbers = new Set(
    paths.flatMap((path) => /samples_(\d+)\.npz$/.exec(path)?.[1] ?? []).map(Number),
  );
  const missing = Array.from({ length: Math.max(0, ...numbers) }, (_, i) => i)
    .filter((number) => numbers.size > 0 && !numbers.has(number));
  return missing.length === 0 ? [] : [
    `chunk ${
      missing.slice(0, 5).join(", ")
    } of the samples is missing: they are combined without it`,
  ];
}

function checkImages(path: string, { dtype, shape }: NpzEntry, first: NpzEntry): void {
  const what = (shape: readonly number[]): string => `(images, ${shape.slice(1).join(", ")})`;
  if (dtype !== "|u1" || shape.length !== 4 || shape[3] !== 3) {
    throw new UserError(
      `Cannot combine ${path}: expected ${IMAGES} to be |u1 (images, height, width, 3), found ${dtype} (${
        shape.join(", ")
      })`,
    );
  }
  if (what(shape) !== what(first.shape)) {
    throw new UserError(
      `Cannot combine ${path}: expected images of shape ${
        what(first.shape)
      } as in the first file, found ${what(shape)}`,
    );
  }
}

/** Checks a file's sums and opens its images; those of a compressed file are unpacked beside it until the end. */
async function openChunk(
  reader: NpzReader,
  entry: NpzEntry,
  resources: AsyncDisposableStack,
): Promise<Chunk> {
  const [count = 0, ...sizes] = entry.shape;
  const { path } = reader;
  const imageBytes = sizes.reduce((product, size) => product * size, 1);
  const stored = entry.startByte !== null;
  const source = stored ? path : temporaryPath(`${path}.unpacked`);
  if (!stored) resources.defer(() => Deno.remove(source));
  try {
    using out = stored
      ? undefined
      : await Deno.open(source, { create: true, write: true, truncate: true });
    for await (const bytes of reader.chunks(IMAGES)) {
      for (let offset = 0; out && offset < bytes.length;) {
        offset += await out.write(bytes.subarray(offset));
      }
    }
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    throw fileError(`write ${source}`, cause);
  }
  const file = resources.use(await Deno.open(source, { read: true }));
  return {
    path,
    count,
    read: async (index) => {
      const bytes = new Uint8Array(imageBytes);
      await file.seek((entry.startByte ?? 0) + index * imageBytes, Deno.SeekMode.Start);
      for (let filled = 0; filled < bytes.length;) {
        const read = await file.read(bytes.subarray(filled));
        if (read === null) {
          throw new UserError(`Cannot read ${path}: expected ${count} images, found fewer by now`);
        }
        filled += read;
      }
      return bytes;
    },
  };
}

/** Gives the images of all files, one after the other, in a given order. */
async function* shuffled(
  chunks: readonly Chunk[],
  order: Uint32Array,
): AsyncGenerator<Uint8Array> {
  const starts = [0];
  for (const { count } of chunks) starts.push((starts.at(-1) ?? 0) + count);
  for (const image of order) {
    const number = starts.findLastIndex((start) => start <= image);
    const chunk = chunks[number];
    if (chunk) yield await chunk.read(image - (starts[number] ?? 0));
  }
}

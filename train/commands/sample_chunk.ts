/** Samples as the reference's `sample.py` writes them: a share of the classes in one file, resumable class by class. @module */

import { join } from "node:path";
import {
  batchesOf,
  type DecodedImages,
  type SampleBatch,
  sampleBatches,
  type SamplingModels,
} from "../drawing.ts";
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { writeNpz } from "../files/npz.ts";
import { unitToTruncatedSamples } from "../image/samples.ts";
import type { Reporter } from "../log.ts";
import type { SamplePreset } from "./sample_settings.ts";

/** One of the shares in which a sampling is divided. */
export interface Chunk {
  /** Seed of all shares. */
  readonly globalSeed: number;
  /** Number of shares. */
  readonly chunks: number;
  /** Which one, from 0. */
  readonly index: number;
}

/** What {@linkcode sampleChunk} draws and how. */
export interface ChunkOptions extends SamplePreset {
  /** Numbers of the classes of this chunk, each once. */
  readonly labels: readonly number[];
  /** Which chunk. */
  readonly chunk: Chunk;
  /** Images at once. */
  readonly batchSize: number;
  /** Type in which keys and values are kept. */
  readonly cacheType: "f32" | "f16";
  /** Folder of the file, which has the settings in its path. */
  readonly folder: string;
  /** What else decides the images: the checkpoints, the type of the weights. Parts of other samplings are not continued. */
  readonly origin: Readonly<Record<string, string>>;
  /** Called behind each batch. */
  readonly onBatch?: () => Promise<void> | void;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Name of the settings beside the parts of a chunk. */
const SETTINGS = "settings.json";

/**
 * Takes a chunk's share of the classes. With all classes they are divided, in order, as evenly as can be; a list is drawn in full by
 * every chunk, each with seeds of its own.
 *
 * @param labels The classes.
 * @param chunk Which chunk.
 * @param options `listed`: whether they were listed one by one.
 * @returns The chunk's classes.
 * @throws {UserError} If a listed class is there twice.
 * @see SEED-Voken sample.py, which leaves the last classes out where their number is no multiple of the chunks.
 */
export function classesOfChunk(
  labels: readonly number[],
  { chunks, index }: Chunk,
  options: { listed: boolean },
): number[] {
  const twice = labels.find((label, i) => labels.indexOf(label) !== i);
  if (twice !== undefined) {
    throw new UserError(`Cannot sample class ${twice}: expected each class once, found it twice`);
  }
  if (options.listed) return [...labels];
  const start = Math.floor((index * labels.length) / chunks);
  return labels.slice(start, Math.floor(((index + 1) * labels.length) / chunks));
}

/**
 * Gives the seeds of a class's images: different ones for every image of every class and chunk of a sampling.
 *
 * @param label The class.
 * @param options Which chunk, images of each class, and number of classes.
 * @returns A seed for each image.
 * @throws {UserError} If the numbers are too large together.
 */
export function seedsOfClass(
  label: number,
  options: { chunk: Chunk; perClass: number; classes: number },
): number[] {
  const { chunk: { globalSeed, chunks, index }, perClass, classes } = options;
  // The reference's seed of a chunk; each of its images needs one of its own, so that a class can be drawn by itself.
  const chunkSeed = globalSeed * chunks + index;
  const first = (chunkSeed * classes + label) * perClass;
  if (!Number.isSafeInteger(first + perClass)) {
    throw new UserError(
      `Cannot sample with --global-seed ${globalSeed}: expected a seed whose product with chunks, classes and images stays below 2^53, found ${first}`,
    );
  }
  return Array.from({ length: perClass }, (_, i) => first + i);
}

/**
 * Draws a chunk and writes `samples_{chunk}.npz`, with `arr_0` of shape (images, height, width, 3), uint8.
 *
 * Each class is a file of its own until all are done: a sampling that was stopped goes on behind the last whole class, and gives the
 * same file as one that was not.
 *
 * @param models Transformer and tokenizer.
 * @param options What is drawn and how.
 * @returns Path of the file.
 * @throws {UserError} If a file cannot be written.
 */
export async function sampleChunk(models: SamplingModels, options: ChunkOptions): Promise<string> {
  const { labels, perClass, batchSize, folder, chunk, reporter } = options;
  const parts = join(folder, `.samples_${chunk.index}`);
  const partOf = (label: number): string => join(parts, `${label}.raw`);
  const done = await openParts(parts, options);
  const remaining = labels.filter((label) => !done.has(label));
  if (remaining.length < labels.length) {
    reporter.info(
      `${
        labels.length - remaining.length
      } of ${labels.length} classes are there: going on behind them`,
    );
  }
  const { classNum: classes } = models.transformer.config;
  const batches = function* (): Generator<SampleBatch> {
    for (const label of remaining) {
      const seeds = seedsOfClass(label, { chunk, perClass, classes });
      yield* batchesOf({ classes: new Array<number>(perClass).fill(label), seeds }, batchSize);
    }
  };
  const images = sampleBatches(models, batches(), options);
  let resolution = 0;
  for (const [i, label] of remaining.entries()) {
    const drawn = take(images, Math.ceil(perClass / batchSize), async (batch) => {
      resolution = batch.resolution;
      await options.onBatch?.();
    });
    await writeFileAtomically(partOf(label), drawn);
    reporter.info(`${labels.length - remaining.length + i + 1} of ${labels.length} classes`);
  }
  if (resolution === 0) resolution = await resolutionOf(partOf(labels[0]!), perClass);
  const path = join(folder, `samples_${chunk.index}.npz`);
  const shape = [labels.length * perClass, resolution, resolution, 3];
  const data = concatenate(labels.map(partOf));
  await writeNpz(path, [{ name: "arr_0", dtype: "|u1", shape, data }]);
  await Deno.remove(parts, { recursive: true });
  return path;
}

/** Makes the folder of parts, or looks which classes are in it already; parts of another sampling are removed. */
async function openParts(parts: string, options: ChunkOptions): Promise<ReadonlySet<number>> {
  const { reporter, chunk, perClass, temperature, topK, topP, guidance, cacheType, origin } =
    options;
  const decisive = { chunk, perClass, temperature, topK, topP, guidance, cacheType, origin };
  const settings = JSON.stringify(decisive);
  try {
    const earlier = await Deno.readTextFile(join(parts, SETTINGS)).catch((cause) => {
      if (cause instanceof Deno.errors.NotFound) return undefined;
      throw cause;
    });
    if (earlier === settings) {
      const done = new Set<number>();
      for await (const { name } of Deno.readDir(parts)) {
        const label = /^(\d+)\.raw$/.exec(name)?.[1];
        if (label !== undefined) done.add(Number(label));
      }
      return done;
    }
    if (earlier !== undefined) {
      reporter.info(`${parts} is of a sampling with other settings: starting anew`);
      await Deno.remove(parts, { recursive: true });
    }
    await Deno.mkdir(parts, { recursive: true });
    await writeFileAtomically(join(parts, SETTINGS), settings);
    return new Set();
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    throw fileError(`write ${parts}`, cause);
  }
}

/** The samples of the next batches. */
async function* take(
  images: AsyncIterator<DecodedImages>,
  batches: number,
  onBatch: (batch: DecodedImages) => Promise<void>,
): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < batches; i++) {
    const { value, done } = await images.next();
    if (done) return;
    await onBatch(value);
    yield unitToTruncatedSamples(value.pixels);
  }
}

async function resolutionOf(part: string, perClass: number): Promise<number> {
  return Math.round(Math.sqrt((await Deno.stat(part)).size / perClass / 3));
}

async function* concatenate(paths: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const path of paths) {
    const file = await Deno.open(path, { read: true }).catch((cause) => {
      throw fileError(`read ${path}`, cause);
    });
    for await (const bytes of file.readable) yield bytes;
  }
}

/** Encodes a data set into tokens, once for a run. @module */

import { createHash } from "node:crypto";
import type { Gpu } from "../kernels/gpu.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import { Tape } from "../nn/tape.ts";
import type { Dataset } from "./data/dataset.ts";
import { readTokens, type TokenCache, type TokenSplit, writeTokens } from "./tokens.ts";

/** What {@linkcode cacheTokens} encodes, and where to. */
export interface CacheTokensOptions {
  /** The device. */
  readonly gpu: Gpu;
  /** The trained tokenizer. */
  readonly tokenizer: Tokenizer;
  /** Its checkpoint: other tokens are written for another one. */
  readonly checkpoint: string;
  /** Images for training. */
  readonly train: Dataset;
  /** Held-out images. */
  readonly validation: Dataset;
  /** Images encoded at once. */
  readonly batchSize: number;
  /** The file. */
  readonly path: string;
  /** Called before images are encoded, with their number. */
  readonly onEncode?: (images: number) => void;
}

/**
 * Reads the tokens of a data set, encoding it first if that was not done with this tokenizer at this resolution, or if the
 * images have other names or classes now.
 *
 * @param options Tokenizer, images, file.
 * @returns The tokens, and whether they had to be encoded.
 * @throws {UserError} If the file is damaged or cannot be written.
 */
export async function cacheTokens(
  options: CacheTokensOptions,
): Promise<TokenCache & { readonly encoded: boolean }> {
  const { path, checkpoint } = options;
  const key = [
    await fileHash(checkpoint),
    datasetHash(options.train),
    datasetHash(options.validation),
  ].join(" ");
  const cached = await readTokens(path, key);
  if (cached) return { ...cached, encoded: false };
  options.onEncode?.(options.train.length + options.validation.length);
  const train = await encodeSplit(options.train, options);
  const validation = await encodeSplit(options.validation, options);
  const tokensPerImage = train.tokens.length / train.labels.length;
  const cache = { train, validation, tokensPerImage, key };
  await writeTokens(path, cache);
  return { ...cache, encoded: true };
}

async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const chunk = new Uint8Array(1 << 20);
  for (let count = await file.read(chunk); count !== null; count = await file.read(chunk)) {
    hash.update(chunk.subarray(0, count));
  }
  return hash.digest("hex");
}

/** What is known of a data set without reading its images. */
function datasetHash(dataset: Dataset): string {
  const { classNames, length, resolution } = dataset;
  const images = Array.from({ length }, (_, i) => [dataset.name(i), dataset.label(i)]);
  return createHash("sha256").update(JSON.stringify({ classNames, resolution, images }))
    .digest("hex");
}

async function encodeSplit(dataset: Dataset, options: CacheTokensOptions): Promise<TokenSplit> {
  const { gpu, tokenizer, batchSize } = options;
  const labels = new Uint32Array(dataset.length);
  let tokens: Uint32Array<ArrayBuffer> | undefined;
  for (let start = 0; start < dataset.length; start += batchSize) {
    const size = Math.min(batchSize, dataset.length - start);
    const loaded = await dataset.load(Array.from({ length: size }, (_, i) => start + i));
    using tape = new Tape(gpu, { record: false });
    const shape = [size, dataset.resolution, dataset.resolution, 3];
    const found = await tokenizer.tokenize(tape.input(loaded.images, shape)).readIndices();
    tokens ??= new Uint32Array(dataset.length * (found.length / size));
    tokens.set(found, start * (found.length / size));
    // A broken file was replaced by the next readable one, whose class it then has.
    for (const [i, index] of loaded.indices.entries()) labels[start + i] = dataset.label(index);
  }
  dataset.reportSkipped();
  return { tokens: tokens ?? new Uint32Array(), labels };
}

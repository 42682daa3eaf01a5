/** Encodes a data set into tokens, once for a tokenizer and a way to prepare the images. @module */

import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Gpu } from "../kernels/gpu.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import { Tape } from "../nn/tape.ts";
import type { Dataset, View } from "./data/dataset.ts";
import { downsamplingFactor, type TokenizerConfig } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { fileHash } from "./files/file_hash.ts";
import { tensorFiles } from "./files/open_tensors.ts";
import { makeFolder } from "./run_folder.ts";
import {
  readShard,
  shardCount,
  shardRange,
  type TokenLayout,
  TokenStore,
  writeShard,
} from "./token_store.ts";
import type { TokenSplit } from "./tokens.ts";
import { type ViewsName, viewsOf } from "./views.ts";

/** How {@linkcode cacheSplits} encodes, and where to. */
export interface CacheSplitsOptions {
  /** The device. */
  readonly gpu: Gpu;
  /** The trained tokenizer. */
  readonly tokenizer: Tokenizer;
  /** Its sizes. */
  readonly model: Pick<TokenizerConfig, "nEmbed" | "ddconfig">;
  /** Its checkpoint: other tokens are written for another one. */
  readonly checkpoint: string;
  /** Images encoded at once. */
  readonly batchSize: number;
  /** Folder of all tokens; those of one tokenizer and data set get a folder in it. */
  readonly folder: string;
  /** Folder in which the checkpoint's hash is kept between runs; default `.cache`, null keeps nothing. */
  readonly cacheDirectory?: string | null;
  /** Images of a file, the most that is encoded again after an interruption; default 1024. */
  readonly imagesPerShard?: number;
  /** Ends the encoding after the running batch; what is complete stays. */
  readonly signal?: AbortSignal;
  /** Called before images are encoded, with their number. */
  readonly onEncode?: (images: number) => void;
  /** Called when a file is complete, with the images encoded so far and those to encode. */
  readonly onProgress?: (done: number, images: number) => void;
}

/** What {@linkcode cacheTokens} encodes, and where to. */
export interface CacheTokensOptions extends CacheSplitsOptions {
  /** Images for training. */
  readonly train: Dataset;
  /** Held-out images. */
  readonly validation: Dataset;
  /** How each training image is seen; default `one`. Held-out ones are always seen once. */
  readonly views?: ViewsName;
}

/** Images to encode, and how each is seen. */
export interface CachedSplit {
  /** The images. */
  readonly dataset: Dataset;
  /** Their views. */
  readonly views: ViewsName;
}

/** Tokens of splits, in their order. Disposing it closes its files. */
export interface SplitTokens extends Disposable {
  /** The tokens. */
  readonly stores: readonly TokenStore[];
  /** Tokens of one image. */
  readonly tokensPerImage: number;
  /** Whether any image had to be encoded. */
  readonly encoded: boolean;
}

/** Tokens of a data set under one tokenizer. Disposing it closes its files. */
export interface TokenCache extends SplitTokens {
  /** For training. */
  readonly train: TokenStore;
  /** Held out. */
  readonly validation: TokenStore;
}

/** A signal ended the encoding; the files that are complete stay. */
export class EncodingStopped extends Error {}

const DEFAULT_IMAGES_PER_SHARD = 1024;

/**
 * Opens the tokens of a data set's two splits.
 *
 * @param options Tokenizer, images, views, folder.
 * @returns The tokens; dispose of them after use.
 * @throws {UserError} If the checkpoint cannot be read, no image can, or the tokens cannot be written.
 * @throws {EncodingStopped} If the signal came first.
 */
export async function cacheTokens(options: CacheTokensOptions): Promise<TokenCache> {
  const { views = "one" } = options;
  const tokens = await cacheSplits(options, [
    { dataset: options.train, views },
    { dataset: options.validation, views: "one" },
  ]);
  const [train, validation] = tokens.stores;
  return { ...tokens, train: train!, validation: validation! };
}

/**
 * Opens the tokens of a data set, encoding first what was not encoded with this tokenizer, from these images, prepared in
 * this way. An interrupted encoding goes on at the first file that is not complete.
 *
 * @param options Tokenizer, folder, how to encode.
 * @param splits Images and views.
 * @returns The tokens; dispose of them after use.
 * @throws {UserError} If the checkpoint cannot be read, no image can, or the tokens cannot be written.
 * @throws {EncodingStopped} If the signal came first.
 */
export async function cacheSplits(
  options: CacheSplitsOptions,
  splits: readonly CachedSplit[],
): Promise<SplitTokens> {
  const { cacheDirectory = ".cache" } = options;
  const checkpoint = await fileHash(await tensorFiles(options.checkpoint), cacheDirectory);
  const parts = splits.map((split) => partOf(split, { ...options, checkpoint }));
  const complete = await openCache(parts, false);
  if (complete) return complete;
  const { signal, onEncode, onProgress } = options;
  // Not `aborted`: the loop behind asks for it once a step.
  const stop = { now: signal?.reason !== undefined };
  const onAbort = (): void => void (stop.now = true);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const missing = (await Promise.all(parts.map(missingShards))).flat();
    const images = missing.reduce((sum, { start, end }) => sum + end - start, 0);
    onEncode?.(images);
    let done = 0;
    for (const shard of missing) {
      const content = await encodeShard(shard, { ...options, stop });
      await makeFolder(shard.part.layout.folder);
      await writeShard(shard.part.layout, shard.number, content);
      done += content.labels.length;
      onProgress?.(done, images);
    }
    for (const { dataset } of parts) dataset.reportSkipped();
    const encoded = await openCache(parts, true);
    if (encoded) return encoded;
    throw new UserError(
      `Cannot read the tokens in ${options.folder}: expected what was just written, found something else`,
    );
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** One split to encode. */
interface Part {
  readonly dataset: Dataset;
  readonly views: readonly View[];
  readonly layout: TokenLayout;
}

function partOf(
  { dataset, views: viewsName }: CachedSplit,
  { folder, model, checkpoint, imagesPerShard = DEFAULT_IMAGES_PER_SHARD }: CacheSplitsOptions,
): Part {
  const { resolution, identity, length } = dataset;
  const views = viewsOf(viewsName, resolution);
  const side = resolution / downsamplingFactor(model.ddconfig);
  const key = JSON.stringify({ checkpoint, images: identity, resolution, views, imagesPerShard });
  const name = createHash("sha256").update(key).digest("hex").slice(0, 24);
  const layout = {
    folder: join(folder, name),
    key,
    images: length,
    views: views.length,
    tokensPerImage: side * side,
    codes: model.nEmbed,
    imagesPerShard,
  };
  return { dataset, views, layout };
}

/** A file to write. */
interface MissingShard {
  readonly part: Part;
  readonly number: number;
  readonly start: number;
  readonly end: number;
}

async function missingShards(part: Part): Promise<MissingShard[]> {
  const missing: MissingShard[] = [];
  for (let number = 0; number < shardCount(part.layout); number++) {
    if (await readShard(part.layout, number)) continue;
    missing.push({ part, number, ...shardRange(part.layout, number) });
  }
  return missing;
}

/** Encodes the images of a file, batch by batch. */
async function encodeShard(
  { part: { dataset, views, layout }, start, end }: MissingShard,
  { gpu, tokenizer, batchSize, stop }: CacheSplitsOptions & { readonly stop: { now: boolean } },
): Promise<TokenSplit> {
  const { tokensPerImage } = layout;
  const labels = new Uint32Array(end - start);
  const tokens = new Uint32Array(labels.length * views.length * tokensPerImage);
  for (let first = start; first < end; first += batchSize) {
    const size = Math.min(batchSize, end - first);
    const images = Array.from({ length: size }, (_, i) => first + i);
    for (const [number, view] of views.entries()) {
      if (stop.now) throw new EncodingStopped();
      const loaded = await dataset.load(images, { view });
      const found = await encodeImages({ gpu, tokenizer }, loaded.images, dataset.resolution);
      for (const [i, index] of loaded.indices.entries()) {
        const row = (first - start + i) * views.length + number;
        const own = found.subarray(i * tokensPerImage, (i + 1) * tokensPerImage);
        tokens.set(own, row * tokensPerImage);
        // A broken file was replaced by the next readable one, whose class it then has.
        labels[first - start + i] = dataset.label(index);
      }
    }
  }
  return { tokens, labels };
}

/**
 * Encodes images.
 *
 * @param models The tokenizer.
 * @param images Pixels in [-1, 1], shape (images, resolution, resolution, 3).
 * @param resolution Width and height in pixels.
 * @returns Numbers of codes, shape (images, tokens an image).
 */
export async function encodeImages(
  models: { readonly gpu: Gpu; readonly tokenizer: Tokenizer },
  images: Float32Array,
  resolution: number,
): Promise<Uint32Array> {
  using tape = new Tape(models.gpu, { record: false });
  const shape = [images.length / (resolution * resolution * 3), resolution, resolution, 3];
  return await models.tokenizer.tokenize(tape.input(images, shape)).readIndices();
}

/** Opens the tokens of all splits; undefined if something is missing. Shards are opened when they are read. */
async function openCache(
  parts: readonly Part[],
  encoded: boolean,
): Promise<SplitTokens | undefined> {
  const stores: TokenStore[] = [];
  for (const { layout } of parts) {
    const store = await TokenStore.open(layout);
    if (!store) return undefined;
    stores.push(store);
  }
  const { tokensPerImage } = parts[0]!.layout;
  const close = (): void => stores.forEach((store) => store[Symbol.dispose]());
  return { stores, tokensPerImage, encoded, [Symbol.dispose]: close };
}

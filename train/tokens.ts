/** The tokens of a data set: encoded once a run, kept in one file, batched for stage II. @module */

import { hashedPermutation } from "../models/hash.ts";
import { UserError } from "./errors.ts";
import { SafetensorsReader, writeSafetensors } from "./files/safetensors.ts";

/** Tokens of one split, with the class of each image. */
export interface TokenSplit {
  /** Tokens, shape (images, tokens an image), row after row of the grid. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** Class of each image, shape (images). */
  readonly labels: Uint32Array<ArrayBuffer>;
}

/** Tokens of a data set under one tokenizer. */
export interface TokenCache {
  /** For training. */
  readonly train: TokenSplit;
  /** Held out. */
  readonly validation: TokenSplit;
  /** Tokens of one image. */
  readonly tokensPerImage: number;
  /** What the tokens depend on: tokenizer checkpoint and data set. */
  readonly key: string;
}

/**
 * Writes tokens.
 *
 * @param path The file, replaced only when complete.
 * @param cache The tokens.
 * @throws {UserError} If the file cannot be written.
 */
export async function writeTokens(path: string, cache: TokenCache): Promise<void> {
  const { tokensPerImage } = cache;
  const parts = ([["train", cache.train], ["validation", cache.validation]] as const).flatMap(
    ([name, { tokens, labels }]) => [
      {
        name: `${name}.tokens`,
        dtype: "U32" as const,
        shape: [labels.length, tokensPerImage],
        data: tokens,
      },
      { name: `${name}.labels`, dtype: "U32" as const, shape: [labels.length], data: labels },
    ],
  );
  await writeSafetensors(path, parts, { metadata: { format: "tessera.tokens", key: cache.key } });
}

/**
 * Reads tokens that were written for the same tokenizer and data set.
 *
 * @param path The file.
 * @param key What the tokens must depend on.
 * @returns The tokens, or undefined if there is no such file or it was written for another key.
 * @throws {UserError} If the file is damaged.
 */
export async function readTokens(path: string, key: string): Promise<TokenCache | undefined> {
  try {
    await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  using file = await SafetensorsReader.open(path);
  if (file.metadata.get("key") !== key) return undefined;
  const split = async (name: string): Promise<TokenSplit> => ({
    tokens: new Uint32Array((await file.bytes(`${name}.tokens`)).buffer),
    labels: new Uint32Array((await file.bytes(`${name}.labels`)).buffer),
  });
  const tokensPerImage = file.entry("train.tokens").shape[1]!;
  return {
    train: await split("train"),
    validation: await split("validation"),
    tokensPerImage,
    key,
  };
}

/** Batches of tokens in an order that depends on seed and epoch only, so any batch of a run can be taken again. */
export class TokenBatches {
  /** Whole batches of one epoch. */
  readonly batchesPerEpoch: number;
  readonly #split: TokenSplit;
  readonly #options: { batchSize: number; seed: number; tokensPerImage: number };
  #order: { epoch: number; images: Uint32Array } | undefined;

  /**
   * Counts the batches; nothing is copied.
   *
   * @param split The tokens.
   * @param options Images of a batch, seed of the order, tokens of an image.
   * @throws {UserError} If there are fewer images than one batch.
   */
  constructor(
    split: TokenSplit,
    options: { batchSize: number; seed: number; tokensPerImage: number },
  ) {
    this.#split = split;
    this.#options = options;
    this.batchesPerEpoch = Math.floor(split.labels.length / options.batchSize);
    if (this.batchesPerEpoch === 0) {
      throw new UserError(
        `Cannot make a batch of ${options.batchSize} images: expected at least as many in the data set, found ${split.labels.length}; use a smaller batch size`,
      );
    }
  }

  /**
   * Takes a batch.
   *
   * @param number Batches of the run before it.
   * @returns Tokens (batch, tokens an image), labels (batch), and the epoch they belong to.
   */
  batch(number: number): TokenSplit & { readonly epoch: number } {
    const { batchSize, seed, tokensPerImage } = this.#options;
    const epoch = Math.floor(number / this.batchesPerEpoch);
    if (this.#order?.epoch !== epoch) {
      this.#order = {
        epoch,
        images: hashedPermutation(this.#split.labels.length, seed, epoch),
      };
    }
    const start = (number % this.batchesPerEpoch) * batchSize;
    const images = this.#order.images.subarray(start, start + batchSize);
    return { ...takeImages(this.#split, images, tokensPerImage), epoch };
  }
}

/**
 * Takes some images of a split.
 *
 * @param split The tokens.
 * @param images Which images.
 * @param tokensPerImage Tokens of one image.
 * @returns Their tokens and labels, in the given order.
 */
export function takeImages(
  split: TokenSplit,
  images: ArrayLike<number>,
  tokensPerImage: number,
): TokenSplit {
  const tokens = new Uint32Array(images.length * tokensPerImage);
  const labels = new Uint32Array(images.length);
  for (let row = 0; row < images.length; row++) {
    const image = images[row]!;
    const start = image * tokensPerImage;
    tokens.set(split.tokens.subarray(start, start + tokensPerImage), row * tokensPerImage);
    labels[row] = split.labels[image]!;
  }
  return { tokens, labels };
}

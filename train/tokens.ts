/** Tokens of images in batches for stage II. @module */

import { hashedPermutation, hashedUniform } from "../models/hash.ts";
import { UserError } from "./errors.ts";

/** Tokens of some images, with the class of each. */
export interface TokenSplit {
  /** Tokens, shape (images, tokens an image), row after row of the grid. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** Class of each image, shape (images). */
  readonly labels: Uint32Array<ArrayBuffer>;
}

/** Where the tokens of one split come from. */
export interface TokenSource {
  /** Class of each image, shape (images). */
  readonly labels: Uint32Array<ArrayBuffer>;
  /** Ways in which each image was encoded: 1, or more with flips or crops. */
  readonly views: number;
  /** Tokens of one image. */
  readonly tokensPerImage: number;
  /**
   * Takes some images.
   *
   * @param images Which images.
   * @param views Which view of each; the first one of all if absent.
   * @returns Their tokens and labels, in the given order.
   * @throws {UserError} If the tokens cannot be read.
   * @throws {RangeError} If there is no such image.
   */
  take(images: ArrayLike<number>, views?: ArrayLike<number>): TokenSplit;
  /**
   * Counts how often each code occurs, in all views.
   *
   * @returns A number a code.
   * @throws {UserError} If the tokens cannot be read.
   */
  counts(): Float64Array;
}

/** Tokens and labels of a batch, and its epoch. */
export type TokenBatch = TokenSplit & { readonly epoch: number };

/** What stage II learns, batch by batch; any batch of a run can be taken again. */
export interface TrainingTokens {
  /** Whole batches of one epoch. */
  readonly batchesPerEpoch: number;
  /**
   * Takes a batch.
   *
   * @param number Batches of the run before it.
   * @returns Tokens (batch, tokens an image), labels (batch), and the epoch they belong to.
   * @throws {UserError} If the images or their tokens cannot be read.
   */
  batch(number: number): TokenBatch | Promise<TokenBatch>;
  /**
   * Counts how often each code occurs.
   *
   * @returns A number a code; undefined where the tokens are not known before they are learned.
   */
  counts(): Float64Array | undefined;
}

/**
 * Refuses a data set that is smaller than a batch.
 *
 * @param images Images of the data set.
 * @param batchSize Images of a batch.
 * @throws {UserError} If there are fewer images than one batch.
 */
export function assertBatch(images: number, batchSize: number): void {
  if (images >= batchSize) return;
  throw new UserError(
    `Cannot make a batch of ${batchSize} images: expected at least as many in the data set, found ${images}; use a smaller batch size`,
  );
}

/** Sets the draws of views apart from those of the order. */
const VIEW_DRAW = 0x76696577;

/** Batches of tokens in an order that depends on seed and epoch only, so any batch of a run can be taken again. */
export class TokenBatches implements TrainingTokens {
  /** Whole batches of one epoch. */
  readonly batchesPerEpoch: number;
  readonly #source: TokenSource;
  readonly #options: { batchSize: number; seed: number };
  #order: { epoch: number; images: Uint32Array } | undefined;

  /**
   * Counts the batches; nothing is read.
   *
   * @param source The tokens.
   * @param options Images of a batch, seed of the order and of the views.
   * @throws {UserError} If there are fewer images than one batch.
   */
  constructor(source: TokenSource, options: { batchSize: number; seed: number }) {
    this.#source = source;
    this.#options = options;
    const { length } = source.labels;
    assertBatch(length, options.batchSize);
    this.batchesPerEpoch = Math.floor(length / options.batchSize);
  }

  /**
   * Takes a batch: each image once an epoch, in one of its views.
   *
   * @param number Batches of the run before it.
   * @returns Tokens (batch, tokens an image), labels (batch), and the epoch they belong to.
   * @throws {UserError} If the tokens cannot be read.
   */
  batch(number: number): TokenBatch {
    const { batchSize, seed } = this.#options;
    const { labels, views } = this.#source;
    const epoch = Math.floor(number / this.batchesPerEpoch);
    if (this.#order?.epoch !== epoch) {
      this.#order = { epoch, images: hashedPermutation(labels.length, seed, epoch) };
    }
    const start = (number % this.batchesPerEpoch) * batchSize;
    const images = this.#order.images.subarray(start, start + batchSize);
    const drawn = images.map((image) =>
      Math.floor(hashedUniform(seed, epoch, image, VIEW_DRAW) * views)
    );
    return { ...this.#source.take(images, drawn), epoch };
  }
  /** Counts how often each code occurs, in all views. */
  counts(): Float64Array {
    return this.#source.counts();
  }
}

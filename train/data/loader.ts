/** Batches of a data set in a shuffled order that a resumed run continues exactly. @module */

import { UserError } from "../errors.ts";
import type { Dataset } from "./dataset.ts";
import { hashedPermutation } from "../../models/hash.ts";

/** A place between two batches; what a checkpoint stores to continue. */
export interface LoaderPosition {
  /** Epoch, from 0. */
  readonly epoch: number;
  /** Batch within the epoch, from 0. */
  readonly batchInEpoch: number;
}

/** How {@linkcode BatchLoader} makes batches. */
export interface BatchLoaderOptions {
  /** Images of a batch. */
  readonly batchSize: number;
  /** Seed of order, crops and flips; default 0. */
  readonly seed?: number;
  /** Whether each epoch has an order of its own; default true, else the data set's order. */
  readonly shuffle?: boolean;
  /** Whether the last images of an epoch are left out where they do not fill a batch; default true. */
  readonly dropLast?: boolean;
  /** Whether the data set's random crops and flips apply; default as `shuffle`. */
  readonly augment?: boolean;
  /** Batches that are loaded ahead; default 2. They bound the memory. */
  readonly prefetch?: number;
  /** Where to start; default the beginning. */
  readonly position?: LoaderPosition;
}

/** One batch. */
export interface Batch {
  /** Pixels in [-1, 1], shape (batch, resolution, resolution, 3). */
  readonly images: Float32Array<ArrayBuffer>;
  /** Class of each image, shape (batch). */
  readonly labels: Uint32Array<ArrayBuffer>;
  /** Index of each image in the data set, shape (batch). */
  readonly indices: Uint32Array;
  /** Epoch of this batch, from 0. */
  readonly epoch: number;
  /** Number of this batch within its epoch, from 0. */
  readonly batchInEpoch: number;
}

/**
 * Makes batches, loading the next ones while the current one is trained on.
 *
 * Order, crops and flips depend on the seed, the epoch and the image alone, not on what was drawn before: a loader that
 * starts at the `position` of another gives the same batches, bit for bit. The data set stays its owner's to dispose.
 */
export class BatchLoader implements Disposable {
  /** Batches of an epoch. */
  readonly batchesPerEpoch: number;
  readonly #dataset: Dataset;
  readonly #options: BatchLoaderOptions;
  readonly #ahead: { readonly position: LoaderPosition; readonly batch: Promise<Batch> }[] = [];
  #order: { readonly epoch: number; readonly indices: Uint32Array } | undefined;
  #position: LoaderPosition;

  /**
   * Makes a loader; nothing is loaded before the first batch is asked for.
   *
   * @param dataset Where the images come from.
   * @param options Size of a batch, seed, order, position.
   * @throws {RangeError} If a size or the position is impossible.
   * @throws {UserError} If the data set is too small for a single batch.
   */
  constructor(dataset: Dataset, options: BatchLoaderOptions) {
    const { batchSize, dropLast = true, prefetch = 2 } = options;
    checkWhole("a batch size", batchSize, 1);
    checkWhole("a number of prefetched batches", prefetch, 0);
    const batches = dataset.length / batchSize;
    this.batchesPerEpoch = dropLast ? Math.floor(batches) : Math.ceil(batches);
    if (this.batchesPerEpoch === 0) {
      throw new UserError(
        `Cannot make a batch of ${batchSize} images: expected at least as many in the data set, ` +
          `found ${dataset.length}; use a smaller batch size`,
      );
    }
    this.#dataset = dataset;
    this.#options = options;
    this.#position = this.#checked(options.position ?? { epoch: 0, batchInEpoch: 0 });
  }

  /**
   * Where the next batch comes from: store it, and give it to another loader or to {@linkcode BatchLoader.seek}.
   *
   * @returns Epoch and batch of what `next` will give.
   */
  get position(): LoaderPosition {
    return this.#position;
  }

  /**
   * Continues elsewhere; batches loaded ahead are dropped.
   *
   * @param position Epoch and batch of what `next` shall give.
   * @throws {RangeError} If the epoch has no such batch.
   */
  seek(position: LoaderPosition): void {
    this.#position = this.#checked(position);
    this.#ahead.length = 0;
  }

  /**
   * Gives the next batch, and starts loading the ones after it.
   *
   * @returns The batch; the last one of an epoch is smaller only without `dropLast`.
   * @throws {UserError} If not one file of the data set can be read.
   */
  async next(): Promise<Batch> {
    const { prefetch = 2 } = this.#options;
    this.#loadAhead(1);
    const first = this.#ahead.shift();
    if (first === undefined) throw new Error("Cannot take the next batch: found none loaded");
    this.#position = this.#after(first.position);
    this.#loadAhead(prefetch);
    const batch = await first.batch;
    if (batch.batchInEpoch === this.batchesPerEpoch - 1) this.#dataset.reportSkipped();
    return batch;
  }

  /** Gives the rest of the current epoch, batch by batch. */
  async *epoch(): AsyncGenerator<Batch> {
    const { epoch } = this.#position;
    while (this.#position.epoch === epoch) yield await this.next();
  }

  /** Drops the batches loaded ahead. */
  [Symbol.dispose](): void {
    this.#ahead.length = 0;
  }

  #loadAhead(count: number): void {
    while (this.#ahead.length < count) {
      const last = this.#ahead.at(-1);
      const position = last ? this.#after(last.position) : this.#position;
      const batch = this.#load(position);
      // A failure is thrown by `next`; until then, or if nobody asks for the batch, it must not end the process.
      batch.catch(() => {});
      this.#ahead.push({ position, batch });
    }
  }

  async #load({ epoch, batchInEpoch }: LoaderPosition): Promise<Batch> {
    const { batchSize, seed = 0, shuffle = true, augment = shuffle } = this.#options;
    const start = batchInEpoch * batchSize;
    const wanted = this.#indices(epoch).subarray(start, start + batchSize);
    const { images, indices } = await this.#dataset.load(
      wanted,
      augment ? { augment: { seed, epoch } } : {},
    );
    const labels = Uint32Array.from(indices, (index) => this.#dataset.label(index));
    return { images, labels, indices, epoch, batchInEpoch };
  }

  /** The order of an epoch. Only one is kept: batches are asked for in order. */
  #indices(epoch: number): Uint32Array {
    if (this.#order?.epoch !== epoch) {
      const { seed = 0, shuffle = true } = this.#options;
      const { length } = this.#dataset;
      const indices = shuffle
        ? hashedPermutation(length, seed, epoch)
        : Uint32Array.from({ length }, (_, i) => i);
      this.#order = { epoch, indices };
    }
    return this.#order.indices;
  }

  #after({ epoch, batchInEpoch }: LoaderPosition): LoaderPosition {
    return batchInEpoch + 1 < this.batchesPerEpoch
      ? { epoch, batchInEpoch: batchInEpoch + 1 }
      : { epoch: epoch + 1, batchInEpoch: 0 };
  }

  #checked(position: LoaderPosition): LoaderPosition {
    const { epoch, batchInEpoch } = position;
    checkWhole("an epoch", epoch, 0);
    checkWhole("a batch within the epoch", batchInEpoch, 0);
    if (batchInEpoch >= this.batchesPerEpoch) {
      throw new RangeError(
        `Cannot start at batch ${batchInEpoch}: expected less than the ${this.batchesPerEpoch} ` +
          `batches of an epoch; the data set or the batch size is another one`,
      );
    }
    return { epoch, batchInEpoch };
  }
}

function checkWhole(what: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(
      `Cannot load batches: expected ${what} of at least ${least}, found ${value}`,
    );
  }
}

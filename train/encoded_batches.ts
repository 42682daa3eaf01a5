/** Batches whose images are encoded into tokens when they are asked for, as the reference does in each step. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import type { Dataset } from "./data/dataset.ts";
import { BatchLoader } from "./data/loader.ts";
import { imagesAtOnce } from "./images_at_once.ts";
import { encodeImages } from "./tokenize.ts";
import type { TokenBatch, TrainingTokens } from "./tokens.ts";

/**
 * Encodes batch after batch. Order, crops and flips depend on seed, epoch and image only, so any batch of a run can be taken again.
 *
 * @see SEED-Voken src/IBQ/models/cond_transformer_llama.py, `shared_step`, `encode_to_z`.
 */
export class EncodedBatches implements TrainingTokens, Disposable {
  readonly #loader: BatchLoader;
  readonly #models: { readonly gpu: Gpu; readonly tokenizer: Tokenizer };
  readonly #resolution: number;

  /**
   * Starts at the first batch; nothing is loaded before it is asked for.
   *
   * @param train The images.
   * @param options The tokenizer, images of a batch, seed.
   * @throws {UserError} If there are fewer images than one batch.
   */
  constructor(
    train: Dataset,
    options: { gpu: Gpu; tokenizer: Tokenizer; batchSize: number; seed: number },
  ) {
    const { batchSize, seed } = options;
    this.#loader = new BatchLoader(train, { batchSize, seed });
    this.#models = options;
    this.#resolution = train.resolution;
  }

  /** Whole batches of one epoch. */
  get batchesPerEpoch(): number {
    return this.#loader.batchesPerEpoch;
  }

  /** Loads and encodes a batch. */
  async batch(number: number): Promise<TokenBatch> {
    const epoch = Math.floor(number / this.batchesPerEpoch);
    const batchInEpoch = number % this.batchesPerEpoch;
    const { position } = this.#loader;
    if (position.epoch !== epoch || position.batchInEpoch !== batchInEpoch) {
      this.#loader.seek({ epoch, batchInEpoch });
    }
    const { images, labels } = await this.#loader.next();
    const part = imagesAtOnce(this.#resolution) * this.#resolution ** 2 * 3;
    const parts: Uint32Array[] = [];
    for (let start = 0; start < images.length; start += part) {
      const some = images.subarray(start, start + part);
      parts.push(await encodeImages(this.#models, some, this.#resolution));
    }
    const length = parts.reduce((sum, tokens) => sum + tokens.length, 0);
    const tokens = new Uint32Array(length);
    let at = 0;
    for (const encoded of parts) {
      tokens.set(encoded, at);
      at += encoded.length;
    }
    return { tokens, labels, epoch };
  }

  /** Nothing is known of tokens that are drawn anew. */
  counts(): undefined {}

  /** Drops the batches loaded ahead. */
  [Symbol.dispose](): void {
    this.#loader[Symbol.dispose]();
  }
}

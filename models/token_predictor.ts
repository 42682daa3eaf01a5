/** Prediction of one token after the other, with the keys and values of the earlier ones kept. @module */

import { KvCache } from "../nn/kv_cache.ts";
import { reshape } from "../nn/math.ts";
import { dims, type Tensor } from "../nn/tensor.ts";
import type { Transformer } from "./transformer.ts";
import { type BlockModulation, splitModulation } from "./transformer_block.ts";
import type { HeadModulation } from "./transformer_head.ts";

/**
 * The state of sequences that grow together, in evaluation mode. What a class does to each block is computed once.
 *
 * @example Logits of all positions, token by token
 * ```ts ignore
 * using tape = new Tape(gpu, { record: false });
 * using predictor = new TokenPredictor(transformer, tape.input(classes, [batch]));
 * let logits = predictor.next();
 * for (const column of columns) logits = predictor.next(column);
 * ```
 */
export class TokenPredictor implements Disposable {
  /** Keys and values of each block. */
  readonly caches: readonly KvCache[];
  readonly #transformer: Transformer;
  readonly #classEmbedding: Tensor;
  readonly #modulations: BlockModulation[];
  readonly #headModulation: HeadModulation;
  #position = 0;

  /**
   * Begins sequences, still empty.
   *
   * @param transformer The model.
   * @param classes (batch) u32: class of each sequence; `classNum` stands for no class. Its tape must not record; it owns all values.
   * @param options `cacheType`: element type of keys and values, default f32.
   * @throws {TypeError} If the tape records.
   */
  constructor(
    transformer: Transformer,
    classes: Tensor,
    options: { cacheType?: "f32" | "f16" } = {},
  ) {
    const { tape } = classes;
    if (tape.recording) {
      throw new TypeError("Cannot predict tokens: expected a tape that does not record");
    }
    const { batch } = dims(classes, "batch", "TokenPredictor classes");
    const { blockSize, nKvHead: kvHeads, headDim } = transformer.config;
    this.#transformer = transformer;
    this.#classEmbedding = transformer.embedClasses(classes);
    const conditions = transformer.conditions(this.#classEmbedding);
    this.#modulations = transformer.blocks.map((block) =>
      splitModulation(block.modulation(conditions.blocks))
    );
    this.#headModulation = transformer.headNorm.modulation(conditions.head);
    const { cacheType: dtype = "f32" } = options;
    this.caches = transformer.blocks.map(() =>
      new KvCache(tape.gpu, { batch, tokens: blockSize, kvHeads, headDim, dtype })
    );
  }

  /**
   * Appends a token to each sequence and predicts the one after it.
   *
   * @param tokens (batch) u32: the tokens that the last call predicted; undefined in the first call, which appends the class.
   * @returns (batch, vocabSize): logits.
   * @throws {TypeError} If tokens are missing or come too early.
   * @throws {RangeError} If the sequences are full.
   */
  next(tokens?: Tensor): Tensor {
    const position = this.#position;
    if ((tokens === undefined) !== (position === 0)) {
      throw new TypeError(
        `Cannot predict token ${position}: expected tokens after the first call only`,
      );
    }
    const transformer = this.#transformer;
    const { tape } = this.#classEmbedding;
    const { vocabSize, nEmbd } = transformer.config;
    const [batch] = this.#classEmbedding.shape as [number, number];
    const predict = (): Tensor => {
      const first = tokens
        ? transformer.embedTokens(reshape(tokens, [batch, 1]))
        : this.#classEmbedding;
      let x = reshape(first, [batch, 1, nEmbd]);
      for (const [i, block] of transformer.blocks.entries()) {
        x = block.forward(x, this.#modulations[i]!, {
          table: transformer.rotaryTable,
          training: false,
          cache: this.caches[i]!,
          position,
        });
      }
      const y = transformer.headNorm.before(x, this.#headModulation);
      return reshape(transformer.project(y), [batch, vocabSize]);
    };
    const logits = tape.scope(() => tape.repeating(predict));
    this.#position++;
    return logits;
  }

  /** Gives the caches back; the other values belong to the tape. */
  [Symbol.dispose](): void {
    for (const cache of this.caches) cache[Symbol.dispose]();
  }
}

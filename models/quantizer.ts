/** The tokenizer's quantizer: a codebook, and index backpropagation over it. @module */

import { dims, type Operand, type Tensor } from "../nn/tensor.ts";
import { cast } from "../nn/cast.ts";
import { reshape } from "../nn/math.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import {
  codebookEntries,
  quantize,
  type Quantized,
  type QuantizeOptions,
} from "../nn/quantizer.ts";

/** Options of {@linkcode IndexPropagationQuantizer}; names follow the reference's configuration. */
export interface QuantizerOptions extends QuantizeOptions {
  /** Number of codes (`n_e`). */
  codes: number;
  /** Numbers of a code (`e_dim`). */
  dimensions: number;
  /** Standard deviation of the initial codes; the reference has 1. Default 1. */
  codebookInitScale?: number;
  /** Accepted and unused, as in the reference. */
  cosineSimilarity?: boolean;
  /** Accepted and unused, as in the reference. */
  l2Normalize?: boolean;
}

/**
 * Codebook with index backpropagation: every code gets a gradient at every step.
 *
 * Parameter: `embedding.weight`, shape (codes, dimensions), initially normal with mean 0.
 *
 * @see arXiv:2412.02692; SEED-Voken src/IBQ/modules/vqvae/quantize.py, `IndexPropagationQuantize`.
 */
export class IndexPropagationQuantizer extends Module {
  /** The codebook, shape (codes, dimensions). */
  readonly codebook: Operand;
  readonly #options: QuantizerOptions;

  /**
   * Makes the codebook.
   *
   * @param context Makes the codebook.
   * @param options Sizes, weights and temperature.
   * @throws {RangeError} If a size is not a positive integer.
   */
  constructor(context: ModuleContext, options: QuantizerOptions) {
    super();
    const { codes, dimensions, codebookInitScale = 1 } = options;
    if (![codes, dimensions].every((extent) => Number.isInteger(extent) && extent > 0)) {
      throw new RangeError(
        `Cannot make a quantizer: expected positive numbers of codes and dimensions, found ${codes} and ${dimensions}`,
      );
    }
    this.#options = options;
    this.codebook = this.register(
      "embedding.weight",
      context.parameter([codes, dimensions], {
        kind: "normal",
        standardDeviation: codebookInitScale,
      }),
    );
  }

  /**
   * Replaces each position by a code.
   *
   * @param z Shape (batch, height, width, dimensions), f32 or f16; everything from here on is f32.
   * @returns `zq` of the same shape, `indices` of shape (batch, height, width), and losses.
   * @throws {TypeError} If the shape does not fit the codebook.
   */
  forward(z: Tensor): Quantized {
    const { batch, height, width, channels } = dims(
      z,
      "batch height width channels",
      "IndexPropagationQuantizer",
    );
    const tokens = reshape(cast(z, "f32"), [batch * height * width, channels]);
    const { zq, indices, ...losses } = quantize(tokens, this.codebook, this.#options);
    return {
      ...losses,
      zq: reshape(zq, z.shape),
      indices: z.tape.view(indices, [batch, height, width]),
    };
  }

  /**
   * Looks codes up (`get_codebook_entry`).
   *
   * @param indices Numbers of codes, u32, any shape.
   * @returns Shape (…indices.shape, dimensions); without gradient.
   * @throws {TypeError} If `indices` does not hold integers.
   */
  entries(indices: Tensor): Tensor {
    return codebookEntries(indices, this.codebook);
  }
}

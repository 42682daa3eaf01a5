/** The plain quantizer that index backpropagation is compared with. @module */

import { reshape } from "../nn/math.ts";
import { codebookEntries } from "../nn/quantizer.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import { dims, type Operand, type Tensor } from "../nn/tensor.ts";
import {
  vectorQuantize,
  type VectorQuantized,
  type VectorQuantizeOptions,
} from "../nn/vector_quantizer.ts";

/** Options of {@linkcode VectorQuantizer}; names follow the reference's configuration. */
export interface VectorQuantizerOptions extends VectorQuantizeOptions {
  /** Number of codes (`n_e`). */
  codes: number;
  /** Numbers of a code (`e_dim`). */
  dimensions: number;
}

/**
 * Codebook with nearest-neighbor lookup.
 *
 * Parameter: `embedding.weight`, shape (codes, dimensions), initially uniform in ±1 / codes.
 *
 * @see SEED-Voken src/IBQ/modules/vqvae/quantize.py, `VectorQuantizer2`.
 */
export class VectorQuantizer extends Module {
  /** The codebook, shape (codes, dimensions). */
  readonly codebook: Operand;
  readonly #options: VectorQuantizerOptions;

  /**
   * Makes the codebook.
   *
   * @param context Makes parameters.
   * @param options Sizes, weights and metric.
   */
  constructor(context: ModuleContext, options: VectorQuantizerOptions) {
    super();
    const { codes, dimensions } = options;
    this.#options = options;
    this.codebook = this.register(
      "embedding.weight",
      context.parameter([codes, dimensions], { kind: "uniform", low: -1 / codes, high: 1 / codes }),
    );
  }

  /**
   * Replaces each position by the nearest code.
   *
   * @param z Shape (batch, height, width, dimensions).
   * @returns `zq` of the same shape, `indices` of shape (batch, height, width), and the loss.
   * @throws {TypeError} If the shape does not fit the codebook.
   */
  forward(z: Tensor): VectorQuantized {
    const { batch, height, width, channels } = dims(
      z,
      "batch height width channels",
      "VectorQuantizer",
    );
    const tokens = reshape(z, [batch * height * width, channels]);
    const { zq, indices, quantLoss } = vectorQuantize(tokens, this.codebook, this.#options);
    return {
      zq: reshape(zq, z.shape),
      indices: z.tape.view(indices, [batch, height, width]),
      quantLoss,
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

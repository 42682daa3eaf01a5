/** Plain vector quantization, the baseline: the nearest code, whose gradient only the chosen codes get. @module */

import { square } from "./activation.ts";
import { argmax } from "./argmax.ts";
import { addVector } from "./broadcast.ts";
import { embedding } from "./embedding.ts";
import { mseLoss } from "./losses.ts";
import { matmul } from "./matmul.ts";
import { add, detach, scale } from "./math.ts";
import { sum } from "./reduce.ts";
import { concat, split } from "./shape.ts";
import { dims, type Operand, type Tensor } from "./tensor.ts";
import { unitLength } from "./unit_length.ts";

/** Distances that are in memory at once: 64 MiB, three times while they are computed. */
const DISTANCES_AT_ONCE = 2 ** 24;

/** Options of {@linkcode vectorQuantize}. */
export interface VectorQuantizeOptions {
  /** Weight of the second loss. Default 0.25. */
  beta?: number;
  /** Whether `beta` weighs what moves the codes (the reference's default, its older form) instead of what moves the tokens. */
  legacy?: boolean;
  /** Whether nearest is meant between vectors brought to length 1. Default false. */
  l2Normalize?: boolean;
}

/** Result of {@linkcode vectorQuantize}. */
export interface VectorQuantized {
  /** The nearest codes, shape (tokens, dimensions); the gradient passes to `z` unchanged. */
  zq: Tensor;
  /** Number of the nearest code of each token, u32, shape (tokens). */
  indices: Tensor;
  /** Shape []. */
  quantLoss: Tensor;
}

/**
 * Replaces each token by the nearest code, the first of equally near ones.
 *
 * @param z Tokens, shape (tokens, dimensions).
 * @param codebook Codes, shape (codes, dimensions).
 * @param options Weights and metric.
 * @returns Nearest codes, indices and loss.
 * @throws {TypeError} If the shapes do not fit.
 * @see SEED-Voken src/IBQ/modules/vqvae/quantize.py, `VectorQuantizer2`.
 */
export function vectorQuantize(
  z: Tensor,
  codebook: Operand,
  options: VectorQuantizeOptions = {},
): VectorQuantized {
  const { beta = 0.25, legacy = true, l2Normalize = false } = options;
  dims(z, "tokens dimensions", "vectorQuantize()");
  const indices = z.tape.scope(() => nearestCodes(detach(z), codebook, l2Normalize));
  const chosen = embedding(indices, codebook);
  const commitment = mseLoss(detach(chosen), z);
  const attraction = mseLoss(chosen, detach(z));
  return {
    zq: add(z, detach(add(chosen, z, { beta: -1 }))),
    indices,
    quantLoss: legacy
      ? add(commitment, attraction, { beta })
      : add(attraction, commitment, { beta }),
  };
}

/** Numbers of the nearest codes, some tokens at a time, so that not all distances are in memory at once. */
function nearestCodes(z: Tensor, codebook: Operand, l2Normalize: boolean): Tensor {
  const { tape } = z;
  const normalize = (x: Tensor): Tensor => l2Normalize ? unitLength(x) : x;
  const codes = normalize(tape.constant(codebook));
  const offsets = scale(sum(square(codes), { axes: [1] }), -1);
  // The distance without the square of the token, which is the same for every code.
  const search = (tokens: Tensor): Tensor =>
    tape.scope(() =>
      argmax(addVector(scale(matmul(normalize(tokens), codes, { transposeB: true }), 2), offsets))
    );
  const [tokens = 0] = z.shape;
  const most = Math.max(1, Math.floor(DISTANCES_AT_ONCE / codes.shape[0]!));
  if (tokens <= most) return search(z);
  const sizes = Array.from(
    { length: Math.ceil(tokens / most) },
    (_, i) => Math.min(most, tokens - i * most),
  );
  return concat(split(z, sizes, { axis: 0 }).map(search), { axis: 0 });
}

/** Random replacement of indices: dropped class labels, noise among input tokens. @module */

import { replaceIndices as launch } from "../kernels/replace.ts";
import type { Tensor } from "./tensor.ts";

/** Options of {@linkcode replaceIndices}. */
export interface ReplaceOptions {
  /** Probability that an index is replaced, in [0, 1]. */
  rate: number;
  /** Least replacement. Default 0. */
  low?: number;
  /** Number of replacements, from `low` on, all equally probable. Default 1: always `low`. */
  range?: number;
}

/**
 * Replaces each index, with probability `rate`, by a random one in [low, low + range). A random op: it draws a key of the tape.
 *
 * @param indices u32, any shape.
 * @param options Probability and replacements.
 * @returns Same shape, u32.
 * @throws {TypeError} If the tensor does not hold integers.
 * @throws {RangeError} If the probability is not in [0, 1], or the range is empty.
 */
export function replaceIndices(indices: Tensor, options: ReplaceOptions): Tensor {
  const { rate, low = 0, range = 1 } = options;
  if (indices.dtype !== "u32") {
    throw new TypeError(`Cannot replace indices: expected dtype u32, found ${indices.dtype}`);
  }
  if (!(rate >= 0 && rate <= 1)) {
    throw new RangeError(`Cannot replace indices: expected a probability, found ${rate}`);
  }
  if (!(range >= 1)) {
    throw new RangeError(`Cannot replace indices: expected at least 1 replacement, found ${range}`);
  }
  const { tape } = indices;
  const y = tape.alloc(indices.shape, "u32");
  const key = tape.nextRandomKey();
  launch(tape.gpu, { x: indices.storage, y: y.storage, key, rate, low, range });
  return y;
}

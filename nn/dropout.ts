/** Random dropping of elements, of whole samples, and random replacement of labels; drawn from the tape's random keys. @module */

import { dropAtRandom, replaceAtRandom } from "../kernels/random_mask.ts";
import type { Tensor } from "./tensor.ts";

function assertProbability(probability: number, operation: string): void {
  if (!(probability >= 0 && probability <= 1)) {
    throw new RangeError(
      `Cannot run ${operation}: expected a probability in [0, 1], found ${probability}`,
    );
  }
}

function drop(x: Tensor, probability: number, op: string, sampleSize?: number): Tensor {
  assertProbability(probability, `${op}()`);
  if (probability === 0) return x;
  const { tape } = x;
  const key = tape.nextRandomKey();
  const masked = (input: Tensor): Tensor => {
    const y = tape.alloc(input.shape, input.dtype);
    dropAtRandom(tape.gpu, {
      x: input.storage,
      y: y.storage,
      key,
      probability,
      ...(sampleSize !== undefined && { sampleSize }),
    });
    return y;
  };
  return tape.record(op, masked(x), [x], (dy) => [masked(dy)]);
}

/**
 * Dropout: each element becomes 0 with a probability; the others are divided by 1 minus it. Nothing is stored: backward draws again.
 *
 * @param x Any shape.
 * @param probability In [0, 1]; at 0 the result is `x` itself, which is also what evaluation wants.
 * @returns Same shape.
 * @throws {RangeError} If the probability is outside [0, 1].
 * @see Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
 */
export function dropout(x: Tensor, probability: number): Tensor {
  return drop(x, probability, "dropout");
}

/**
 * Stochastic depth: all elements of a sample become 0 with a probability; the other samples are divided by 1 minus it.
 *
 * @param x Shape (batch, …): the output of a residual branch.
 * @param probability In [0, 1]; at 0 the result is `x` itself, which is also what evaluation wants.
 * @returns Same shape.
 * @throws {RangeError} If the probability is outside [0, 1].
 * @see Huang et al. 2016, arXiv:1603.09382.
 */
export function dropPath(x: Tensor, probability: number): Tensor {
  return drop(x, probability, "dropPath", x.size / (x.shape[0] ?? 1));
}

/** What {@linkcode replaceLabels} puts in the place of a label: one value, or a uniform integer in [0, below). */
export type Replacement = { value: number } | { below: number };

/**
 * Replaces labels at random: by the null class for classifier-free guidance, or by random tokens.
 *
 * @param labels Any shape, u32.
 * @param probability Share to replace, in [0, 1]; at 0 the result is `labels` itself.
 * @param replacement One value, or any integer below a bound.
 * @returns Same shape, u32.
 * @throws {TypeError} If the labels are not u32.
 * @throws {RangeError} If the probability is outside [0, 1].
 * @see Ho & Salimans 2022, arXiv:2207.12598.
 */
export function replaceLabels(
  labels: Tensor,
  probability: number,
  replacement: Replacement,
): Tensor {
  assertProbability(probability, "replaceLabels()");
  if (labels.dtype !== "u32") {
    throw new TypeError(`Cannot run replaceLabels(): expected dtype u32, found ${labels.dtype}`);
  }
  if (probability === 0) return labels;
  const { tape } = labels;
  const y = tape.alloc(labels.shape, "u32");
  replaceAtRandom(tape.gpu, {
    labels: labels.storage,
    replaced: y.storage,
    key: tape.nextRandomKey(),
    probability,
    value: 0,
    below: 0,
    ...replacement,
  });
  return tape.record("replaceLabels", y, [labels], () => [undefined]);
}

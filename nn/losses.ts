/** Losses: cross-entropy, mean absolute and mean squared difference. @module */

import { reduce } from "../kernels/reduce.ts";
import { crossEntropyBackward, crossEntropyForward } from "../kernels/softmax.ts";
import { abs, square } from "./activation.ts";
import { add } from "./math.ts";
import { mean } from "./reduce.ts";
import { rowsOf } from "./softmax.ts";
import { assertShape, type Operand, type Tensor } from "./tensor.ts";

/** Options of {@linkcode crossEntropy}. */
export interface CrossEntropyOptions {
  /** `"mean"` (default) over all rows, or `"none"` for one loss a row. */
  reduction?: "mean" | "none";
}

/**
 * Cross-entropy of the softmax over the last axis with target classes: `-log softmax(logits)[target]`, in nats. No array of
 * probabilities is made.
 *
 * @param logits Shape (…, classes).
 * @param targets Shape (…), u32, each below `classes`; another number makes its row's loss NaN.
 * @param options Reduction.
 * @returns A scalar, or with `reduction: "none"` shape (…).
 * @throws {TypeError} If the shapes do not match, or the targets are not u32.
 */
export function crossEntropy(
  logits: Tensor,
  targets: Operand,
  options: CrossEntropyOptions = {},
): Tensor {
  const shape = rowsOf(logits, "crossEntropy()");
  const { rows } = shape;
  assertShape(targets, logits.shape.slice(0, -1), "crossEntropy() targets");
  if (targets.dtype !== "u32") {
    throw new TypeError(
      `Cannot run crossEntropy(): expected targets of dtype u32, found ${targets.dtype}`,
    );
  }
  const { tape } = logits;
  const shared = options.reduction !== "none";
  const logSums = tape.alloc([rows]);
  const losses = tape.alloc(targets.shape);
  const inputs = { x: logits.storage, targets: targets.storage, logSums: logSums.storage };
  crossEntropyForward(tape.gpu, shape, { ...inputs, losses: losses.storage });
  const factor = shared ? 1 / rows : 1;
  let y = losses;
  if (shared) {
    y = tape.alloc([]);
    reduce(tape.gpu, "sum", {
      a: losses.storage,
      y: y.storage,
      outer: 1,
      length: rows,
      inner: 1,
      factor,
    });
    tape.release(losses);
  }
  return tape.record("crossEntropy", y, [logits], (dy) => {
    const dx = tape.alloc(logits.shape, logits.dtype);
    crossEntropyBackward(tape.gpu, shape, {
      ...inputs,
      dy: dy.storage,
      dx: dx.storage,
      shared,
      factor,
    });
    return [dx];
  });
}

/**
 * Mean absolute difference: `mean(|a - b|)`. Equal elements have gradient 0.
 *
 * @param a First tensor.
 * @param b Second tensor, same shape.
 * @returns A scalar.
 * @throws {TypeError} If the shapes differ.
 */
export function l1Loss(a: Tensor, b: Tensor): Tensor {
  return mean(abs(add(a, b, { beta: -1 })));
}

/**
 * Mean squared difference: `mean((a - b)²)`.
 *
 * @param a First tensor.
 * @param b Second tensor, same shape.
 * @returns A scalar.
 * @throws {TypeError} If the shapes differ.
 */
export function mseLoss(a: Tensor, b: Tensor): Tensor {
  return mean(square(add(a, b, { beta: -1 })));
}

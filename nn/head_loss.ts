/** The loss of a projection to a large vocabulary, without its logits in memory. @module */

import { headLossBackward, headLossForward } from "../kernels/head_loss.ts";
import { cast } from "./cast.ts";
import { linear } from "./linear.ts";
import { crossEntropy } from "./losses.ts";
import { assertShape, dims, type Operand, type Tensor } from "./tensor.ts";

/** Options of {@linkcode linearCrossEntropy}. */
export interface LinearCrossEntropyOptions {
  /** Bytes of logits up to which they are kept for the backward pass instead of being computed again. Default 16 MiB. */
  keepBytes?: number;
  /** Above that: bytes that the logits of a chunk of the vocabulary may take. Default 32 MiB. */
  logitBytes?: number;
}

const KEEP_BYTES = 2 ** 24;

/**
 * Mean cross-entropy, in nats, of the softmax of `x weightᵀ` with target columns.
 *
 * Logits that are larger than a budget are computed chunk by chunk of the vocabulary, once forward and once backward, so that memory
 * does not grow with rows times vocabulary.
 *
 * @param x Shape (…, channels), f32 or f16.
 * @param weight Shape (vocabulary, channels).
 * @param targets Shape (…), u32, each below `vocabulary`; another number makes the loss NaN.
 * @param options Budgets.
 * @returns A scalar, f32.
 * @throws {TypeError} If the shapes do not fit, or the targets are not u32.
 */
export function linearCrossEntropy(
  x: Tensor,
  weight: Operand,
  targets: Operand,
  options: LinearCrossEntropyOptions = {},
): Tensor {
  const { vocabulary, channels } = dims(
    weight,
    "vocabulary channels",
    "linearCrossEntropy() weight",
  );
  const leading = x.shape.slice(0, -1);
  assertShape(x, [...leading, channels], "linearCrossEntropy() x");
  assertShape(targets, leading, "linearCrossEntropy() targets");
  if (targets.dtype !== "u32") {
    throw new TypeError(
      `Cannot run linearCrossEntropy(): expected targets of dtype u32, found ${targets.dtype}`,
    );
  }
  const rows = x.size / channels;
  const { keepBytes = KEEP_BYTES, logitBytes } = options;
  if (4 * rows * vocabulary <= keepBytes) {
    return crossEntropy(cast(linear(x, { weight }), "f32"), targets);
  }
  const { tape } = x;
  const { gpu } = tape;
  const size = { rows, channels, vocabulary, logitBytes };
  const loss = tape.alloc([]);
  const states = tape.alloc([rows, 4]);
  const inputs = {
    x: x.storage,
    weight: weight.storage,
    targets: targets.storage,
    states: states.storage,
  };
  headLossForward(gpu, inputs, loss.storage, size);
  if (!tape.recording) tape.release(states);
  return tape.record("linearCrossEntropy", loss, [x, weight], (dy, needs) => {
    const dx = needs[0] ? tape.alloc(x.shape, x.dtype) : undefined;
    const dweight = needs[1] ? tape.alloc(weight.shape) : undefined;
    headLossBackward(gpu, inputs, {
      dy: dy.storage,
      dx: dx?.storage,
      dweight: dweight?.storage,
    }, size);
    return [dx, dweight];
  });
}

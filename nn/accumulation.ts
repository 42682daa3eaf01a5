/** Sums of gradients over micro-batches, for batches that do not fit in memory at once. @module */

import { affine } from "../kernels/elementwise.ts";
import { accumulate } from "../kernels/optim.ts";
import type { Tape } from "./tape.ts";
import { type Operand, Parameter, type Tensor } from "./tensor.ts";

/**
 * Adds up gradients of several tapes in buffers of its own, which are kept from step to step.
 *
 * @example Four micro-batches
 * ```ts ignore
 * using sums = new GradientAccumulator();
 * for (const batch of batches) {
 *   using tape = new Tape(gpu);
 *   sums.add(tape.grad(lossOf(tape, batch), parameters, { last: true }), 1 / batches.length);
 * }
 * using tape = new Tape(gpu);
 * optimizer.step(sums.take(tape), { learningRate });
 * ```
 */
export class GradientAccumulator implements Disposable {
  readonly #sums = new Map<Parameter, Parameter>();
  readonly #filled = new Set<Parameter>();

  /**
   * Adds gradients of parameters; those of other operands are ignored.
   *
   * @param gradients What `Tape.grad` returned.
   * @param factor Multiplies them, default 1; for the mean over n equally large micro-batches 1 / n.
   */
  add(gradients: ReadonlyMap<Operand, Tensor>, factor = 1): void {
    for (const [operand, gradient] of gradients) {
      if (!(operand instanceof Parameter)) continue;
      const { gpu } = operand;
      let sum = this.#sums.get(operand);
      if (!sum) {
        sum = new Parameter(gpu, operand.shape, {
          trainable: false,
          purpose: "a sum of gradients",
          use: "gradients",
        });
        this.#sums.set(operand, sum);
      }
      if (this.#filled.has(operand)) {
        accumulate(gpu, { sum: sum.storage, x: gradient.storage, factor });
      } else {
        affine(gpu, { a: gradient.storage, y: sum.storage, alpha: factor });
        this.#filled.add(operand);
      }
    }
  }

  /**
   * Hands the sums out and starts again: the next {@linkcode GradientAccumulator.add} overwrites them.
   *
   * @param tape Carries the sums.
   * @returns The sums by parameter, for an optimizer.
   */
  take(tape: Tape): Map<Operand, Tensor> {
    const taken = new Map<Operand, Tensor>();
    for (const parameter of this.#filled) {
      taken.set(parameter, tape.constant(this.#sums.get(parameter)!));
    }
    this.#filled.clear();
    return taken;
  }

  /** Gives the buffers back. */
  [Symbol.dispose](): void {
    for (const sum of this.#sums.values()) sum[Symbol.dispose]();
    this.#sums.clear();
    this.#filled.clear();
  }
}

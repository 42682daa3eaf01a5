/** Gradients of a training step, read from the optimizers that used them. @module */

import type { Parameter } from "../../nn/tensor.ts";
import type { TokenizerLearner } from "../../train/tokenizer_learner.ts";
import { readParameter } from "./file_check.ts";

/** Name of Adam's running mean of a parameter's gradients. */
const FIRST_MOMENT = /\.exp_avg$/;

/**
 * Follows the first moments of both optimizers: `gradient = (moment - beta1 · moment before) / (1 - beta1)`. So the gradients of the
 * training step itself are checked, which nothing else can see.
 */
export class MomentReader {
  readonly #moments: ReadonlyMap<string, Parameter>;
  readonly #before = new Map<string, Float32Array>();
  readonly #beta1: number;

  /**
   * @param learner Whose optimizers; before their first step.
   * @param beta1 Decay of their first moments.
   */
  constructor(learner: TokenizerLearner, beta1: number) {
    this.#beta1 = beta1;
    const state = [
      ...learner.generatorOptimizer.state(),
      ...learner.discriminatorOptimizer.state(),
    ];
    this.#moments = new Map(
      state.filter(([name]) => FIRST_MOMENT.test(name)).map((
        [name, moment],
      ) => [name.replace(FIRST_MOMENT, ""), moment]),
    );
  }

  /**
   * Reads the gradients of the last step; call it once a step.
   *
   * @returns Gradients by parameter, in the file's order of axes.
   */
  async gradients(): Promise<Map<string, Float32Array>> {
    const gradients = new Map<string, Float32Array>();
    for (const [name, parameter] of this.#moments) {
      const moment = Float32Array.from(await readParameter(parameter));
      const before = this.#before.get(name);
      this.#before.set(name, moment);
      gradients.set(
        name,
        moment.map((value, i) => (value - this.#beta1 * (before?.[i] ?? 0)) / (1 - this.#beta1)),
      );
    }
    return gradients;
  }
}

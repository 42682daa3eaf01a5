/** Exponential moving averages of parameters. @module */

import { averageStep, exchange } from "../kernels/optim.ts";
import { Parameter } from "./tensor.ts";

/** Options of {@linkcode ExponentialMovingAverage}. */
export interface ExponentialMovingAverageOptions {
  /** Share of the average that an update keeps, in [0, 1]; rounded to f32 as the reference stores it. Default 0.999. */
  decay?: number;
  /** Whether the n-th update uses `min(decay, (1 + n) / (10 + n))`, so that early averages forget the start. Default false. */
  warmup?: boolean;
}

/**
 * A smoothed copy of parameters: `average -= (1 - decay) (average - parameter)` after each step.
 *
 * @see SEED-Voken src/IBQ/modules/ema.py, `LitEma`.
 */
export class ExponentialMovingAverage implements Disposable {
  /** The decay, rounded to f32. */
  readonly decay: number;
  /** Updates so far, which warmup counts; -1 without warmup, as in the reference's `num_updates`. */
  updates: number;
  readonly #entries: { name: string; parameter: Parameter; average: Parameter }[] = [];
  #swapped = false;

  /**
   * Makes averages that start as copies of the parameters.
   *
   * @param parameters Names and parameters; those that are not trainable are left out.
   * @param options Decay and warmup.
   * @throws {RangeError} If the decay is outside [0, 1].
   */
  constructor(
    parameters: Iterable<readonly [string, Parameter]>,
    options: ExponentialMovingAverageOptions = {},
  ) {
    const { decay = 0.999, warmup = false } = options;
    if (!(decay >= 0 && decay <= 1)) {
      throw new RangeError(`Cannot average: expected a decay in [0, 1], found ${decay}`);
    }
    this.decay = Math.fround(decay);
    this.updates = warmup ? 0 : -1;
    for (const [name, parameter] of parameters) {
      if (!parameter.trainable) continue;
      const { gpu, shape, filePermutation } = parameter;
      const average = new Parameter(gpu, shape, {
        trainable: false,
        purpose: `the average of ${name}`,
        ...(filePermutation && { filePermutation }),
      });
      gpu.copy(parameter.storage, average.storage);
      this.#entries.push({ name, parameter, average });
    }
  }

  /**
   * Moves the averages towards the parameters.
   *
   * @throws {TypeError} While averages and parameters are swapped.
   */
  update(): void {
    this.#assertInPlace("update averages");
    let { decay } = this;
    if (this.updates >= 0) {
      this.updates++;
      decay = Math.min(decay, Math.fround((1 + this.updates) / (10 + this.updates)));
    }
    const oneMinusDecay = Math.fround(1 - decay);
    for (const { parameter, average } of this.#entries) {
      averageStep(parameter.gpu, {
        average: average.storage,
        x: parameter.storage,
        oneMinusDecay,
      });
    }
  }

  /** Exchanges averages and parameters, so that a model evaluates with the averages; a second call puts both back. */
  swap(): void {
    this.#swapped = !this.#swapped;
    for (const { parameter, average } of this.#entries) {
      exchange(parameter.gpu, { a: parameter.storage, b: average.storage });
    }
  }

  /**
   * Overwrites the parameters with the averages.
   *
   * @throws {TypeError} While averages and parameters are swapped.
   */
  copyToParameters(): void {
    this.#assertInPlace("copy averages");
    for (const { parameter, average } of this.#entries) {
      parameter.gpu.copy(average.storage, parameter.storage);
    }
  }

  /**
   * Walks the averages, for checkpoints.
   *
   * @returns Names of the parameters, and their averages to read or write.
   * @throws {TypeError} While averages and parameters are swapped.
   */
  *averages(): Generator<[string, Parameter]> {
    this.#assertInPlace("walk averages");
    for (const { name, average } of this.#entries) yield [name, average];
  }

  /** Gives the averages' buffers back. */
  [Symbol.dispose](): void {
    for (const { average } of this.#entries) average[Symbol.dispose]();
  }

  #assertInPlace(action: string): void {
    if (this.#swapped) {
      throw new TypeError(
        `Cannot ${action}: expected the trained parameters in place, found them swapped`,
      );
    }
  }
}

/** Exponential moving averages of parameters. @module */

import { averageStep, exchange } from "../kernels/optim.ts";
import type { Slice } from "../kernels/slice.ts";
import { Arena, runsOf } from "./arena.ts";
import { Parameter } from "./tensor.ts";

/** Options of {@linkcode ExponentialMovingAverage}. */
export interface ExponentialMovingAverageOptions {
  /** Share of the average that an update keeps, in [0, 1]; rounded to f32 as the reference stores it. Default 0.999. */
  decay?: number;
  /** Whether the n-th update uses `min(decay, (1 + n) / (10 + n))`, so that early averages forget the start. Default false. */
  warmup?: boolean;
}

/** A parameter and its average. */
interface Entry {
  name: string;
  parameter: Parameter;
  average: Parameter;
}

/**
 * A smoothed copy of parameters: `average -= (1 - decay) (average - parameter)` after each step.
 *
 * An optimizer that is given the averages moves those of the parameters that it updates in the same pass; `update` then moves the
 * rest.
 *
 * @see SEED-Voken src/IBQ/modules/ema.py, `LitEma`.
 */
export class ExponentialMovingAverage implements Disposable {
  /** The decay, rounded to f32. */
  readonly decay: number;
  /** Updates so far, which warmup counts; -1 without warmup, as in the reference's `num_updates`. */
  updates: number;
  readonly #entries: readonly Entry[];
  readonly #averages = new Map<Parameter, Parameter>();
  /** Parameters whose averages an optimizer has moved since the last update. */
  readonly #moved = new Set<Parameter>();
  readonly #arena: Arena | undefined;
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
    const averaged = [...parameters].filter(([, parameter]) => parameter.trainable);
    const first = averaged[0]?.[1];
    const sizes = averaged.map(([, { storage }]) => storage.bytes);
    this.#arena = first && new Arena(first.gpu, sizes, {
      purpose: "averages",
      use: "averages",
    });
    this.#entries = averaged.map(([name, parameter], i) => {
      const { gpu, shape, filePermutation } = parameter;
      const average = new Parameter(gpu, shape, {
        trainable: false,
        storage: this.#arena!.slices[i]!,
        ...(filePermutation && { filePermutation }),
      });
      gpu.copy(parameter.storage, average.storage);
      this.#averages.set(parameter, average);
      return { name, parameter, average };
    });
  }

  /** What the next update takes from the parameters: 1 minus its decay. */
  get oneMinusDecay(): number {
    let { decay } = this;
    if (this.updates >= 0) {
      const update = this.updates + 1;
      decay = Math.min(decay, Math.fround((1 + update) / (10 + update)));
    }
    return Math.fround(1 - decay);
  }

  /**
   * Hands an average to an optimizer, which moves it together with its parameter.
   *
   * @param parameter The parameter.
   * @returns Its average; undefined if it has none, or was handed out since the last update.
   * @throws {TypeError} While averages and parameters are swapped.
   */
  take(parameter: Parameter): Slice | undefined {
    this.#assertInPlace("update averages");
    const average = this.#averages.get(parameter);
    if (!average || this.#moved.has(parameter)) return undefined;
    this.#moved.add(parameter);
    return average.storage;
  }

  /**
   * Moves the averages that no optimizer has moved since the last update towards the parameters, and counts the update.
   *
   * @throws {TypeError} While averages and parameters are swapped.
   */
  update(): void {
    this.#assertInPlace("update averages");
    const { oneMinusDecay } = this;
    if (this.updates >= 0) this.updates++;
    const rest = this.#entries.filter(({ parameter }) => !this.#moved.has(parameter));
    this.#moved.clear();
    for (const { entries, slices: [x, average] } of runsOf(rest, slicesOf)) {
      averageStep(entries[0]!.parameter.gpu, { average: average!, x: x!, oneMinusDecay });
    }
  }

  /** Exchanges averages and parameters, so that a model evaluates with the averages; a second call puts both back. */
  swap(): void {
    this.#swapped = !this.#swapped;
    for (const { entries, slices: [a, b] } of runsOf(this.#entries, slicesOf)) {
      exchange(entries[0]!.parameter.gpu, { a: a!, b: b! });
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
    this.#arena?.[Symbol.dispose]();
  }

  #assertInPlace(action: string): void {
    if (this.#swapped) {
      throw new TypeError(
        `Cannot ${action}: expected the trained parameters in place, found them swapped`,
      );
    }
  }
}

function slicesOf({ parameter, average }: Entry): readonly Slice[] {
  return [parameter.storage, average.storage];
}

/** Dynamic scaling of losses, so that gradients stored as f16 neither vanish nor overflow. @module */

/** The first scale. */
const INITIAL = 2 ** 16;
/** Factor after a step without effect. */
const BACKOFF = 0.5;
/** Factor after {@linkcode GROWTH_INTERVAL} steps. */
const GROWTH = 2;
/** Steps in a row that have to take effect before the scale grows. */
const GROWTH_INTERVAL = 2000;
/** Where gradients overflow without any scale, scaling is not the cause. */
const LEAST = 1;

/** A step that has ended, but has not yet acted on the scale. */
export interface ScaledStep {
  /** Its scale. */
  readonly scale: number;
  /** Optimizers whose update was left out, by name. */
  readonly skipped: readonly string[];
}

/** A step that runs. */
export interface RunningStep {
  /** Multiplies the upstream gradient of the losses; a power of two. */
  readonly scale: number;
  /** Optimizers whose update was left out in the step before the last, which they have counted. */
  readonly undone: readonly string[];
  /**
   * Ends the step, given the optimizers whose update was left out; tells whether a smaller scale is left to try.
   */
  readonly finish: (skipped: readonly string[]) => boolean;
}

/** What a checkpoint holds of a {@linkcode LossScaler}. */
export interface LossScaleState {
  /** The scale. */
  readonly scale: number;
  /** Steps in a row that took effect. */
  readonly cleanSteps: number;
  /** The newest steps, at most two, all finished. */
  readonly steps: readonly ScaledStep[];
}

/** A step, whose outcome is unknown while it runs. */
interface Step {
  readonly scale: number;
  skipped: readonly string[] | undefined;
}

/**
 * The scale of the losses, with the numbers of PyTorch's `GradScaler`: it starts at 65536, is halved after a step whose scaled gradients
 * are not finite, and doubled after 2000 steps in a row that are.
 *
 * The optimizer decides on the GPU whether a step takes effect; the host learns of it while the next step runs. So that equal runs have
 * equal scales, a step always acts on the scale of the next but one, however soon its outcome is known. The step in between does not
 * halve the same scale again.
 *
 * @see Micikevicius et al. 2018, arXiv:1710.03740, section 3.2; PyTorch, torch.amp.GradScaler.
 *
 * @example A step
 * ```ts ignore
 * const { scale, finish } = scaler.begin();
 * const norm = adam.step(tape.grad(loss, parameters, { gradient: scale }), {
 *   learningRate,
 *   gradientScale: 1 / scale,
 * });
 * // … while the next step runs:
 * finish(Number.isFinite((await norm.read())[0]) ? [] : ["adam"]);
 * ```
 */
export class LossScaler {
  #scale = INITIAL;
  #cleanSteps = 0;
  #steps: Step[] = [];

  /**
   * Begins a step.
   *
   * @returns Its scale, and how to end it.
   * @throws {TypeError} If the step before the last still runs.
   */
  begin(): RunningStep {
    const undone: string[] = [];
    while (this.#steps.length > 1) {
      const [oldest] = finished(this.#steps.slice(0, 1), "begin a step");
      this.#steps.shift();
      this.#apply(oldest!);
      undone.push(...oldest!.skipped);
    }
    const step: Step = { scale: this.#scale, skipped: undefined };
    this.#steps.push(step);
    const finish = (skipped: readonly string[]): boolean => {
      step.skipped = skipped;
      return step.scale > LEAST;
    };
    return { scale: step.scale, undone, finish };
  }

  /**
   * Gives what a checkpoint has to hold.
   *
   * @returns The state, of plain values.
   * @throws {TypeError} If a step still runs.
   */
  state(): LossScaleState {
    return {
      scale: this.#scale,
      cleanSteps: this.#cleanSteps,
      steps: finished(this.#steps, "save a loss scale"),
    };
  }

  /**
   * Continues from a state.
   *
   * @param state What {@linkcode LossScaler.state} gave.
   * @throws {RangeError} If the scale is not positive, or the count no whole number of at least 0.
   */
  restore({ scale, cleanSteps, steps }: LossScaleState): void {
    const scales = [scale, ...steps.map((step) => step.scale)];
    const valid = scales.every((value) => value > 0 && Number.isFinite(value)) &&
      Number.isInteger(cleanSteps) && cleanSteps >= 0;
    if (!valid) {
      throw new RangeError(
        `Cannot restore a loss scale: expected positive scales and a whole number of steps, found ${scales} and ${cleanSteps}`,
      );
    }
    this.#scale = scale;
    this.#cleanSteps = cleanSteps;
    this.#steps = steps.map((step) => ({ ...step }));
  }

  #apply({ scale, skipped }: ScaledStep): void {
    if (skipped.length > 0) {
      this.#scale = Math.min(this.#scale, Math.max(LEAST, scale * BACKOFF));
      this.#cleanSteps = 0;
      return;
    }
    this.#cleanSteps++;
    if (this.#cleanSteps < GROWTH_INTERVAL) return;
    this.#scale *= GROWTH;
    this.#cleanSteps = 0;
  }
}

function finished(steps: readonly Step[], action: string): ScaledStep[] {
  return steps.map(({ scale, skipped }) => {
    if (skipped) return { scale, skipped };
    throw new TypeError(`Cannot ${action}: expected finished steps before, found one that runs`);
  });
}

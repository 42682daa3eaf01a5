/** Adam and AdamW, with state that checkpoints can hold. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { adamStep, globalNorm } from "../kernels/optim.ts";
import type { Slice } from "../kernels/slice.ts";
import { Arena, gather, type Run, runsOf } from "./arena.ts";
import type { ExponentialMovingAverage } from "./ema.ts";
import { assertShape, type Operand, Parameter, type Tensor } from "./tensor.ts";

/** Options of {@linkcode Adam}. */
export interface AdamOptions {
  /** Decays of the running means of gradients and of their squares, each in [0, 1). Default 0.9 and 0.999. */
  betas?: readonly [number, number];
  /** Added to the root of the mean square, in the unit of a gradient. Default 1e-8. */
  eps?: number;
  /** Weight decay, default 0; a step may give another. */
  weightDecay?: number;
  /** Whether weight decay shrinks the parameters themselves (AdamW) instead of adding to the gradients (Adam). Default false. */
  decoupled?: boolean;
}

/** Options of {@linkcode Adam.step}. */
export interface AdamStepSettings {
  /** Learning rate of this step. */
  learningRate: number;
  /** Weight decay of this step; default: the optimizer's. */
  weightDecay?: number;
  /** Largest norm of all scaled gradients together; default: not clipped. */
  clip?: number;
  /** Multiplies the gradients, such as 1 over the factor of the loss. Default 1. */
  gradientScale?: number;
  /** Averages that follow the parameters in the same pass. */
  averages?: ExponentialMovingAverage | undefined;
}

/** What lies side by side: the parameters, and what Adam remembers of them. */
const ARENAS = [
  { purpose: "parameters", use: "weights" },
  { purpose: "first moments", use: "optimizer" },
  { purpose: "second moments", use: "optimizer" },
] as const;

/** What Adam remembers of a parameter. */
interface Entry {
  name: string;
  parameter: Parameter;
  /** Where the parameter lies while the optimizer lives. */
  place: Slice;
  firstMoment: Parameter;
  secondMoment: Parameter;
  steps: number;
}

/** What a step does to a parameter. */
interface Update {
  entry: Entry;
  gradient: Tensor;
  average: Slice | undefined;
}

/**
 * Adam, or AdamW with `decoupled`, as PyTorch computes them: running means with bias correction, `eps` outside the root.
 *
 * While the optimizer lives, small parameters lie side by side in a buffer of its own, as their moments do, so that one dispatch
 * updates all of them.
 *
 * A step whose gradients do not have a finite norm changes neither parameters nor moments nor averages; that is decided on the GPU,
 * so nothing is read back. Each parameter counts its own steps, those without gradient excepted. A step without effect is counted too: stop or
 * restore the counts when the returned norm is not finite.
 *
 * @see Kingma & Ba 2014, arXiv:1412.6980; Loshchilov & Hutter 2017, arXiv:1711.05101.
 *
 * @example Usage
 * ```ts ignore
 * using optimizer = new Adam(model.namedParameters(), { betas: [0.5, 0.9] });
 * const gradients = tape.grad(loss, model.trainableParameters());
 * const norm = optimizer.step(gradients, { learningRate: 1e-4, clip: 1 });
 * ```
 */
export class Adam implements Disposable {
  readonly #options: Required<AdamOptions>;
  readonly #entries: readonly Entry[];
  readonly #arenas: readonly Arena[];

  /**
   * Makes an optimizer whose moments are 0.
   *
   * @param parameters Names and parameters; those that are not trainable are left out.
   * @param options Hyperparameters.
   * @throws {RangeError} If a hyperparameter is out of its range.
   */
  constructor(parameters: Iterable<readonly [string, Parameter]>, options: AdamOptions = {}) {
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, decoupled = false } = options;
    if (!betas.every((beta) => beta >= 0 && beta < 1)) {
      throw new RangeError(`Cannot make Adam: expected betas in [0, 1), found ${betas}`);
    }
    if (!(eps >= 0 && weightDecay >= 0)) {
      throw new RangeError(
        `Cannot make Adam: expected eps and weight decay of at least 0, found ${eps} and ${weightDecay}`,
      );
    }
    this.#options = { betas, eps, weightDecay, decoupled };
    const trained = [...parameters].filter(([, parameter]) => parameter.trainable);
    const first = trained[0]?.[1];
    const sizes = trained.map(([, { storage }]) => storage.bytes);
    this.#arenas = first ? ARENAS.map((options) => new Arena(first.gpu, sizes, options)) : [];
    const [places, firstMoments, secondMoments] = this.#arenas;
    firstMoments?.clear();
    secondMoments?.clear();
    this.#entries = trained.map(([name, parameter], i) => {
      const { gpu, shape, filePermutation } = parameter;
      const moment = (arena: Arena): Parameter =>
        new Parameter(gpu, shape, {
          trainable: false,
          storage: arena.slices[i]!,
          ...(filePermutation && { filePermutation }),
        });
      const place = places!.slices[i]!;
      parameter.moveTo(place);
      return {
        name,
        parameter,
        place,
        firstMoment: moment(firstMoments!),
        secondMoment: moment(secondMoments!),
        steps: 0,
      };
    });
  }

  /**
   * Updates every parameter that has a gradient.
   *
   * @param gradients What `Tape.grad` returned; entries of other operands are ignored.
   * @param settings Learning rate, weight decay and clipping of this step.
   * @returns Norm of the scaled gradients before clipping: a scalar on their tape, for the log.
   * @throws {TypeError} If no parameter has a gradient, or one of another shape.
   */
  step(gradients: ReadonlyMap<Operand, Tensor>, settings: AdamStepSettings): Tensor {
    const updates = this.#updates(gradients, settings.averages);
    const { tape } = updates[0]!.gradient;
    const runs = runsOf(updates, slicesOf, sharePass);
    const gathered = runs.map((run) => gatherGradients(tape.gpu, run));
    const norm = tape.alloc([]);
    globalNorm(tape.gpu, gathered, norm.storage, Math.abs(settings.gradientScale ?? 1));
    for (const { entry } of updates) entry.steps++;
    for (const [i, run] of runs.entries()) {
      this.#update(tape.gpu, run, { gradient: gathered[i]!, norm: norm.storage, settings });
      if (run.entries.length > 1) tape.gpu.release(gathered[i]!);
    }
    return norm;
  }

  #updates(
    gradients: ReadonlyMap<Operand, Tensor>,
    averages: ExponentialMovingAverage | undefined,
  ): Update[] {
    const updates: Update[] = [];
    for (const entry of this.#entries) {
      const { name, parameter } = entry;
      const gradient = gradients.get(parameter);
      if (!gradient) continue;
      assertShape(gradient, parameter.shape, `the gradient of ${name}`);
      updates.push({ entry, gradient, average: undefined });
    }
    if (updates.length === 0) {
      throw new TypeError("Cannot step: expected the gradient of a parameter, found none");
    }
    for (const update of updates) update.average = averages?.take(update.entry.parameter);
    return updates;
  }

  #update(
    gpu: Gpu,
    { entries, slices }: Run<Update>,
    operands: { gradient: Slice; norm: Slice; settings: AdamStepSettings },
  ): void {
    const { gradient, norm, settings } = operands;
    const [parameter, firstMoment, secondMoment, average] = slices;
    const { betas, eps, decoupled, weightDecay } = this.#options;
    adamStep(gpu, {
      parameter: parameter!,
      gradient,
      gradientScale: settings.gradientScale ?? 1,
      firstMoment: firstMoment!,
      secondMoment: secondMoment!,
      average: average && { slice: average, oneMinusDecay: settings.averages!.oneMinusDecay },
      norm,
      maxNorm: settings.clip,
      step: entries[0]!.entry.steps,
      learningRate: settings.learningRate,
      betas,
      eps,
      weightDecay: settings.weightDecay ?? weightDecay,
      decoupled,
    });
  }

  /**
   * Walks the moments, for checkpoints.
   *
   * @returns Names as in PyTorch's optimizer state, `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`, and what to read or write.
   */
  *state(): Generator<[string, Parameter]> {
    for (const { name, firstMoment, secondMoment } of this.#entries) {
      yield [`${name}.exp_avg`, firstMoment];
      yield [`${name}.exp_avg_sq`, secondMoment];
    }
  }

  /** Number of steps of each parameter, by name. */
  get stepCounts(): Record<string, number> {
    return Object.fromEntries(this.#entries.map(({ name, steps }) => [name, steps]));
  }

  /**
   * Restores the numbers of steps.
   *
   * @param counts What {@linkcode Adam.stepCounts} was.
   * @throws {TypeError} If a parameter is missing.
   * @throws {RangeError} If a count is not a whole number of at least 0.
   */
  restoreStepCounts(counts: Readonly<Record<string, number>>): void {
    for (const entry of this.#entries) {
      const steps = counts[entry.name];
      if (steps === undefined) {
        throw new TypeError(`Cannot restore step counts: expected ${entry.name}, found none`);
      }
      if (!(Number.isInteger(steps) && steps >= 0)) {
        throw new RangeError(
          `Cannot restore the step count of ${entry.name}: expected a whole number, found ${steps}`,
        );
      }
    }
    for (const entry of this.#entries) entry.steps = counts[entry.name]!;
  }

  /** Gives the moments' buffers back; parameters that are still in use take buffers of their own again. */
  [Symbol.dispose](): void {
    for (const { parameter, place, firstMoment, secondMoment } of this.#entries) {
      parameter.moveOut(place);
      firstMoment[Symbol.dispose]();
      secondMoment[Symbol.dispose]();
    }
    for (const arena of this.#arenas) arena[Symbol.dispose]();
  }
}

function slicesOf({ entry, average }: Update): readonly Slice[] {
  const { parameter, firstMoment, secondMoment } = entry;
  const slices = [parameter.storage, firstMoment.storage, secondMoment.storage];
  return average ? [...slices, average] : slices;
}

/** Whether one dispatch can serve both: it has one number of steps, and averages or not. */
function sharePass(a: Update, b: Update): boolean {
  return a.entry.steps === b.entry.steps && (a.average === undefined) === (b.average === undefined);
}

/** Gradients of a run, laid out as its parameters: a buffer to give back, but for a single parameter the gradient itself. */
function gatherGradients(gpu: Gpu, { entries, slices }: Run<Update>): Slice {
  if (entries.length === 1) return entries[0]!.gradient.storage;
  const parts = entries.map(({ entry, gradient }) => ({
    place: entry.parameter.storage,
    source: gradient.storage,
  }));
  return gather(gpu, slices[0]!, parts, "gradients");
}

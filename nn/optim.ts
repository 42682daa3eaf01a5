/** Adam and AdamW, with state that checkpoints can hold. @module */

import { adamStep } from "../kernels/optim.ts";
import { gradientNorm } from "./gradient_norm.ts";
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
  /** Largest norm of all gradients together; default: not clipped. */
  clip?: number;
}

/** What Adam remembers of a parameter. */
interface Entry {
  name: string;
  parameter: Parameter;
  firstMoment: Parameter;
  secondMoment: Parameter;
  steps: number;
}

function momentOf(parameter: Parameter, what: string): Parameter {
  const { filePermutation } = parameter;
  const moment = new Parameter(parameter.gpu, parameter.shape, {
    trainable: false,
    purpose: what,
    ...(filePermutation && { filePermutation }),
  });
  parameter.gpu.clear(moment.storage);
  return moment;
}

/**
 * Adam, or AdamW with `decoupled`, as PyTorch computes them: running means with bias correction, `eps` outside the root.
 *
 * A step whose gradients do not have a finite norm changes neither parameters nor moments; that is decided on the GPU, so nothing is
 * read back. Each parameter counts its own steps, those without gradient excepted. A step without effect is counted too: stop or
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
  readonly #entries: Entry[] = [];

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
    for (const [name, parameter] of parameters) {
      if (!parameter.trainable) continue;
      const firstMoment = momentOf(parameter, `the first moment of ${name}`);
      const secondMoment = momentOf(parameter, `the second moment of ${name}`);
      this.#entries.push({ name, parameter, firstMoment, secondMoment, steps: 0 });
    }
  }

  /**
   * Updates every parameter that has a gradient.
   *
   * @param gradients What `Tape.grad` returned; entries of other operands are ignored.
   * @param settings Learning rate, weight decay and clipping of this step.
   * @returns Norm of the gradients before clipping: a scalar on their tape, for the log.
   * @throws {TypeError} If no parameter has a gradient, or one of another shape.
   */
  step(gradients: ReadonlyMap<Operand, Tensor>, settings: AdamStepSettings): Tensor {
    const { learningRate, clip } = settings;
    const { betas, eps, decoupled } = this.#options;
    const weightDecay = settings.weightDecay ?? this.#options.weightDecay;
    const updates: { entry: Entry; gradient: Tensor }[] = [];
    for (const entry of this.#entries) {
      const gradient = gradients.get(entry.parameter);
      if (!gradient) continue;
      assertShape(gradient, entry.parameter.shape, `the gradient of ${entry.name}`);
      updates.push({ entry, gradient });
    }
    const norm = gradientNorm(updates.map(({ gradient }) => gradient));
    const { gpu } = norm.tape;
    for (const { entry, gradient } of updates) {
      entry.steps++;
      adamStep(gpu, {
        parameter: entry.parameter.storage,
        gradient: gradient.storage,
        firstMoment: entry.firstMoment.storage,
        secondMoment: entry.secondMoment.storage,
        norm: norm.storage,
        maxNorm: clip,
        step: entry.steps,
        learningRate,
        betas,
        eps,
        weightDecay,
        decoupled,
      });
    }
    return norm;
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

  /** Gives the moments' buffers back. */
  [Symbol.dispose](): void {
    for (const { firstMoment, secondMoment } of this.#entries) {
      firstMoment[Symbol.dispose]();
      secondMoment[Symbol.dispose]();
    }
  }
}

/** One optimizer step of stage II, and what a checkpoint of it holds. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { Transformer } from "../models/transformer.ts";
import type { TransformerOptions } from "../models/transformer_options.ts";
import { GradientAccumulator } from "../nn/accumulation.ts";
import { ModuleContext } from "../nn/module.ts";
import { Adam } from "../nn/optim.ts";
import { Sentinel } from "../nn/sentinel.ts";
import { Tape } from "../nn/tape.ts";
import type { Operand, Tensor } from "../nn/tensor.ts";
import type { CheckpointEntry } from "./checkpoint.ts";
import type { Precision } from "./config/mod.ts";
import { assertPrecision, guarded, readScalars } from "./learner.ts";
import type { Metrics } from "./loop.ts";
import { LossScaling, UNSCALED } from "./loss_scaling.ts";
import type { OptimizerSettings } from "./schedule.ts";
import { OPTIMIZER_NAMES, TRANSFORMER, TRANSFORMER_BETAS } from "./stage_optimizers.ts";
import type { TokenSplit } from "./tokens.ts";

/** What a learner of stage II is made of. */
export interface TransformerLearnerOptions {
  /** Sizes and rates of the transformer. */
  readonly model: TransformerOptions;
  /** Seed of the initial weights and of dropout. */
  readonly seed: number;
  /** Share of the input tokens that are kept while training; the others become random ones. Default 1. */
  readonly pkeep?: number;
  /** Type in which activations and copies of weights are stored. Default f32. */
  readonly precision?: Precision;
  /** Whether every result is looked at for NaN and infinity. Default false. */
  readonly detectAnomaly?: boolean;
}

/** Settings of one step. */
export interface TransformerStepSettings extends OptimizerSettings {
  /** Number of the step, from 0: the key of its random numbers. */
  readonly step: number;
  /** Largest norm of the gradients, or null. */
  readonly clip: number | null;
}

/** The transformer with its optimizer. */
export class TransformerLearner implements Disposable {
  /** The model. */
  readonly transformer: Transformer;
  /** Its optimizer: AdamW over every parameter, as the reference's schedule decays all of them. */
  readonly optimizer: Adam;
  /** Scale of the losses, with precision f16. */
  readonly lossScaling: LossScaling | undefined;
  readonly #gpu: Gpu;
  readonly #options: TransformerLearnerOptions;
  readonly #sums = new GradientAccumulator();

  /**
   * Makes everything with initial weights.
   *
   * @param gpu The device.
   * @param options Sizes, rates, seed.
   * @throws {RangeError} If the sizes do not fit each other.
   * @throws {UserError} If the adapter does not know the precision.
   */
  constructor(gpu: Gpu, options: TransformerLearnerOptions) {
    assertPrecision(gpu, options.precision ?? "f32");
    this.#gpu = gpu;
    this.#options = options;
    this.transformer = new Transformer(new ModuleContext(gpu, options.seed), options.model);
    this.optimizer = new Adam(this.transformer.namedParameters(TRANSFORMER), {
      betas: TRANSFORMER_BETAS,
      decoupled: true,
    });
    if (options.precision === "f16") {
      this.lossScaling = new LossScaling({ optimizers: { "gradient_norm": this.optimizer } });
    }
  }

  /**
   * Trains on one batch, or on several whose gradients are averaged.
   *
   * @param batches Tokens and classes of the images; batches of equal size.
   * @param settings Rates of this step.
   * @returns `loss` in nats a token, and `gradient_norm`; read while the next step runs.
   */
  step(batches: readonly TokenSplit[], settings: TransformerStepSettings): Promise<Metrics> {
    const { scale: lossScale, finish } = this.lossScaling?.begin() ?? UNSCALED;
    const sentinel = this.#options.detectAnomaly ? new Sentinel(this.#gpu) : undefined;
    using tape = new Tape(this.#gpu, { seed: this.#options.seed, step: settings.step, sentinel });
    const { learningRate, weightDecay, clip } = settings;
    const rates = { learningRate, weightDecay, gradientScale: 1 / lossScale };
    const update = (gradients: ReadonlyMap<Operand, Tensor>): Tensor =>
      this.optimizer.step(gradients, { ...rates, ...(clip && { clip }) });
    const [only, ...others] = batches;
    if (only && others.length === 0) {
      const loss = this.#loss(tape, only);
      tape.retain(loss);
      const scalars = { loss, "gradient_norm": update(this.#gradients(tape, loss, lossScale)) };
      return guarded(readScalars(scalars).then(finish), sentinel);
    }
    const losses: Record<string, Tensor> = {};
    for (const [i, batch] of batches.entries()) {
      using part = new Tape(this.#gpu, {
        seed: this.#options.seed,
        step: settings.step * batches.length + i,
        sentinel,
      });
      const loss = this.#loss(part, batch);
      part.retain(loss);
      losses[i] = tape.copy(loss);
      this.#sums.add(this.#gradients(part, loss, lossScale), 1 / batches.length);
    }
    const norm = update(this.#sums.take(tape));
    const read = readScalars({ ...losses, gradient_norm: norm }).then((
      { gradient_norm, ...parts },
    ) => ({
      loss: Object.values(parts).reduce((sum, value) => sum + value, 0) / batches.length,
      gradient_norm: gradient_norm!,
    }));
    return guarded(read.then(finish), sentinel);
  }

  /**
   * Runs the forward and backward pass of a step again, keeping every value.
   *
   * @param batches The step's batches.
   * @param settings The step's settings.
   * @returns The name of the first op whose value, or whose gradient, is not finite.
   */
  async locateNonFinite(
    batches: readonly TokenSplit[],
    settings: TransformerStepSettings,
  ): Promise<string> {
    for (const [i, batch] of batches.entries()) {
      using tape = new Tape(this.#gpu, {
        seed: this.#options.seed,
        step: settings.step * batches.length + i,
      });
      const loss = this.#loss(tape, batch);
      const found = await tape.firstNonFinite(loss, this.transformer.trainableParameters());
      if (found) return found;
    }
    return "the optimizer";
  }

  /**
   * Lists every tensor of a checkpoint.
   *
   * @returns The weights, then the state of the optimizer.
   */
  *entries(): Generator<CheckpointEntry> {
    const byName = new Map(this.transformer.namedParameters(TRANSFORMER));
    for (const [name, parameter] of byName) yield { name, parameter };
    for (const [name, parameter] of this.optimizer.state()) {
      yield {
        name: OPTIMIZER_NAMES.transformer.prefix + name,
        parameter,
        layout: byName.get(name.replace(/\.exp_avg(_sq)?$/, ""))!,
      };
    }
  }

  /** Gives every buffer back. */
  [Symbol.dispose](): void {
    this.#sums[Symbol.dispose]();
    this.optimizer[Symbol.dispose]();
    this.transformer[Symbol.dispose]();
  }

  #loss(tape: Tape, batch: TokenSplit): Tensor {
    const { pkeep = 1, precision = "f32" } = this.#options;
    const inputs = inputsOf(tape, batch, this.transformer.config.blockSize);
    return this.transformer.loss(inputs, { training: true, pkeep, precision });
  }

  #gradients(tape: Tape, loss: Tensor, lossScale: number): Map<Operand, Tensor> {
    const parameters = this.transformer.trainableParameters();
    return tape.grad(loss, parameters, { last: true, gradient: lossScale });
  }
}

/**
 * Measures tokens without training.
 *
 * @param gpu The device.
 * @param transformer The model.
 * @param batch Tokens and classes of the images.
 * @returns Mean cross-entropy in nats a token.
 */
export async function evaluateTokens(
  gpu: Gpu,
  transformer: Transformer,
  batch: TokenSplit,
): Promise<number> {
  using tape = new Tape(gpu, { record: false });
  const loss = transformer.loss(inputsOf(tape, batch, transformer.config.blockSize));
  return (await loss.read())[0]!;
}

/** The transformer reads all tokens but the last, and predicts all of them. */
function inputsOf(
  tape: Tape,
  { tokens, labels }: TokenSplit,
  blockSize: number,
): { tokens: Tensor; classes: Tensor; targets: Tensor } {
  const batch = labels.length;
  const read = new Uint32Array(batch * (blockSize - 1));
  for (let image = 0; image < batch; image++) {
    read.set(
      tokens.subarray(image * blockSize, (image + 1) * blockSize - 1),
      image * (blockSize - 1),
    );
  }
  return {
    tokens: tape.input(read, [batch, blockSize - 1]),
    classes: tape.input(labels, [batch]),
    targets: tape.input(tokens, [batch, blockSize]),
  };
}

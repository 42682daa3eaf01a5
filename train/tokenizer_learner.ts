/** One optimizer step of stage I (discriminator, then generator, then averages), and what a checkpoint of it holds. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { fillUniform } from "../kernels/random.ts";
import { NLayerDiscriminator } from "../models/discriminator.ts";
import { Tokenizer, type TokenizerOptions, type TokenizerOutput } from "../models/tokenizer.ts";
import { GradientAccumulator } from "../nn/accumulation.ts";
import { ExponentialMovingAverage } from "../nn/ema.ts";
import { ModuleContext } from "../nn/module.ts";
import { clamp } from "../nn/activation.ts";
import { cast } from "../nn/cast.ts";
import { add, detach } from "../nn/math.ts";
import { Adam } from "../nn/optim.ts";
import { Sentinel } from "../nn/sentinel.ts";
import { Tape } from "../nn/tape.ts";
import { type Operand, Parameter, type Tensor } from "../nn/tensor.ts";
import type { CheckpointEntry } from "./checkpoint.ts";
import type { Precision } from "./config/mod.ts";
import { assertPrecision, guarded, readScalars } from "./learner.ts";
import type { Metrics } from "./loop.ts";
import { LossScaling, UNSCALED } from "./loss_scaling.ts";
import { DISCRIMINATOR, OPTIMIZER_NAMES, TOKENIZER_BETAS } from "./stage_optimizers.ts";
import { type Opponent, TokenizerLosses, type TokenizerLossOptions } from "./tokenizer_losses.ts";

/** What a learner of stage I is made of. */
export interface TokenizerLearnerOptions {
  /** Sizes of the tokenizer. */
  readonly model: TokenizerOptions;
  /** Weights of the losses, sizes of discriminator and perceptual network. */
  readonly loss: TokenizerLossOptions;
  /** Share of the averages that an update keeps; null for no averages. */
  readonly emaDecay: number | null;
  /** Seed of the initial weights and of dropout. */
  readonly seed: number;
  /** Type in which activations and copies of weights are stored. Default f32. */
  readonly precision?: Precision;
  /** Whether every result is looked at for NaN and infinity. Default false. */
  readonly detectAnomaly?: boolean;
}

/** Settings of one step. */
export interface TokenizerStepSettings {
  /** Number of the step, from 0: it keys random numbers, and decides whether the discriminator takes part. */
  readonly step: number;
  /** Learning rate of both optimizers. */
  readonly learningRate: number;
  /** Largest norm of the generator's gradients, or null. */
  readonly clip: number | null;
}

/** Images of one step. */
export interface ImageBatch {
  /** Pixels in [-1, 1], shape (batch, height, width, 3). */
  readonly images: Float32Array;
  /** The shape. */
  readonly shape: readonly [number, number, number, number];
}

/**
 * Tokenizer and discriminator with their optimizers and averages.
 *
 * @see SEED-Voken src/IBQ/models/ibqgan.py, `training_step`; SPEC of the losses: src/IBQ/modules/losses/vqperceptual.py.
 */
export class TokenizerLearner implements Disposable {
  /** The generator: encoder, quantizer, decoder. */
  readonly tokenizer: Tokenizer;
  /** Its opponent. */
  readonly discriminator: NLayerDiscriminator;
  /** The losses, with the frozen perceptual network and LeCAM's averages. */
  readonly losses: TokenizerLosses;
  /** Adam of the generator. */
  readonly generatorOptimizer: Adam;
  /** Adam of the discriminator. */
  readonly discriminatorOptimizer: Adam;
  /** Averages of all trainable parameters, the discriminator's included. */
  readonly averages: ExponentialMovingAverage | undefined;
  /** Scale of the losses, with precision f16. */
  readonly lossScaling: LossScaling | undefined;
  readonly #gpu: Gpu;
  readonly #options: TokenizerLearnerOptions;
  readonly #sums = new GradientAccumulator();
  /** What the reference keeps of its averages beside them: decay and number of updates. */
  readonly #averageState: Readonly<Record<"decay" | "num_updates", Parameter>>;

  /**
   * Makes everything with initial weights.
   *
   * @param gpu The device.
   * @param options Sizes, weights, seed.
   * @throws {UserError} If the adapter does not know the precision.
   */
  constructor(gpu: Gpu, options: TokenizerLearnerOptions) {
    assertPrecision(gpu, options.precision ?? "f32");
    this.#gpu = gpu;
    this.#options = options;
    const { model, loss, seed, precision = "f32" } = options;
    const context = new ModuleContext(gpu, seed);
    this.tokenizer = new Tokenizer(context, model);
    this.discriminator = new NLayerDiscriminator(context, {
      inChannels: loss.discInChannels,
      ndf: loss.discNdf,
      numLayers: loss.discNumLayers,
    });
    this.losses = new TokenizerLosses(gpu, { ...loss, precision });
    this.generatorOptimizer = new Adam(this.tokenizer.namedParameters(), {
      betas: TOKENIZER_BETAS,
    });
    this.discriminatorOptimizer = new Adam(this.discriminator.namedParameters(DISCRIMINATOR), {
      betas: TOKENIZER_BETAS,
    });
    if (precision === "f16") {
      this.lossScaling = new LossScaling({
        optimizers: {
          "generator_gradient_norm": this.generatorOptimizer,
          "discriminator_gradient_norm": this.discriminatorOptimizer,
        },
        fromGradients: ["d_weight", "g_loss", "total_loss"],
      });
    }
    const scalar = (): Parameter => new Parameter(gpu, [], { trainable: false });
    this.#averageState = { decay: scalar(), "num_updates": scalar() };
    if (options.emaDecay !== null) this.averages = this.#startAverages(options.emaDecay);
  }

  /**
   * Trains on one batch, or on several whose gradients are averaged.
   *
   * The batch is encoded and decoded once; the discriminator learns on the result, then the generator learns against the new
   * discriminator. With several batches each is encoded and decoded a second time for the generator, so that the activations of
   * one batch are all that memory has to hold.
   *
   * @param batches Images; batches of equal size.
   * @param settings Rates of this step.
   * @returns The losses by the reference's names, and the gradient norms; read while the next step runs.
   */
  step(batches: readonly ImageBatch[], settings: TokenizerStepSettings): Promise<Metrics> {
    const { step, learningRate, clip } = settings;
    const { averages } = this;
    const { scale: lossScale, finish } = this.lossScaling?.begin() ?? UNSCALED;
    const shared = { learningRate, averages, gradientScale: 1 / lossScale };
    const sentinel = this.#options.detectAnomaly ? new Sentinel(this.#gpu) : undefined;
    using scalars = new Tape(this.#gpu, { record: false });
    const log = new MetricSums(scalars);
    const context: StepContext = { step, lossScale, log, sentinel };
    const updateDiscriminator = (gradients: ReadonlyMap<Operand, Tensor>): void => {
      const norm = this.discriminatorOptimizer.step(gradients, shared);
      log.set("discriminator_gradient_norm", norm);
    };
    const updateGenerator = (gradients: ReadonlyMap<Operand, Tensor>): void => {
      const norm = this.generatorOptimizer.step(gradients, {
        ...shared,
        ...(clip !== null && { clip }),
      });
      log.set("generator_gradient_norm", norm);
    };
    const [only, ...others] = batches;
    if (only && others.length === 0) {
      using tape = new Tape(this.#gpu, { ...this.#key(step), sentinel });
      const pass = this.#pass(tape, only);
      this.#judge(pass, context, updateDiscriminator);
      this.#generate(pass, context, updateGenerator);
    } else {
      const share = 1 / batches.length;
      for (const [i, batch] of batches.entries()) {
        using tape = new Tape(this.#gpu, {
          ...this.#key(step * batches.length + i),
          record: false,
          sentinel,
        });
        const pass = this.#pass(tape, batch);
        this.#judge(pass, context, (gradients) => this.#sums.add(gradients, share));
      }
      updateDiscriminator(this.#sums.take(scalars));
      for (const [i, batch] of batches.entries()) {
        using tape = new Tape(this.#gpu, { ...this.#key(step * batches.length + i), sentinel });
        const pass = this.#pass(tape, batch);
        this.#generate(pass, context, (gradients) => this.#sums.add(gradients, share));
      }
      updateGenerator(this.#sums.take(scalars));
    }
    averages?.update();
    return guarded(log.read(batches.length).then(finish), sentinel);
  }

  /**
   * Measures images without training: the losses on clamped reconstructions, with the running statistics of the discriminator.
   * LeCAM's averages of the logits move all the same, as in the reference.
   *
   * @param batch Images.
   * @param step Steps done.
   * @returns The losses by the reference's names, the clamped reconstructions, and the tokens (images, tokens an image).
   * @see SEED-Voken src/IBQ/models/ibqgan.py, `_validation_step`.
   */
  async evaluate(batch: ImageBatch, step: number): Promise<Evaluation> {
    using tape = new Tape(this.#gpu, { record: false });
    const { x, output } = this.#pass(tape, batch, { training: false });
    const reconstruction = clamp(output.reconstruction, { minimum: -1, maximum: 1 });
    const opponent = this.#opponent(false);
    const generated = this.losses.generator({ x, output, reconstruction }, opponent, step);
    const judged = this.losses.discriminator({ x, reconstruction }, opponent, step);
    const [metrics, pixels, tokens] = await Promise.all([
      readScalars({ ...judged.metrics, ...generated.metrics }),
      reconstruction.read(),
      output.indices.readIndices(),
    ]);
    return { metrics, pixels, tokens };
  }

  /**
   * Runs the forward and backward passes of a step again, keeping every value.
   *
   * @param batches The step's batches.
   * @param settings The step's settings.
   * @returns The name of the first op whose value, or whose gradient, is not finite.
   */
  async locateNonFinite(
    batches: readonly ImageBatch[],
    settings: TokenizerStepSettings,
  ): Promise<string> {
    const { step } = settings;
    for (const [i, batch] of batches.entries()) {
      using tape = new Tape(this.#gpu, this.#key(step * batches.length + i));
      const { x, output } = this.#pass(tape, batch);
      const { reconstruction } = output;
      const opponent = this.#opponent(true);
      const judged = this.losses.discriminator(
        { x, reconstruction: detach(reconstruction) },
        opponent,
        step,
      );
      const generated = this.losses.generator({ x, output, reconstruction }, opponent, step);
      const found =
        await tape.firstNonFinite(judged.loss, this.discriminator.trainableParameters()) ??
          await tape.firstNonFinite(generated.loss, this.tokenizer.trainableParameters());
      if (found) return found;
    }
    return "the optimizer";
  }

  /**
   * Lists every tensor of a checkpoint.
   *
   * @returns Those with the reference's names, then the state of the training.
   */
  *entries(): Generator<CheckpointEntry> {
    const weights = new Map<string, Parameter>([
      ...this.tokenizer.namedParameters(),
      ...this.discriminator.namedParameters(DISCRIMINATOR),
    ]);
    for (const [name, parameter] of weights) yield { name, parameter };
    if (this.averages) {
      for (const [name, parameter] of this.averages.averages()) {
        yield { name: averageName(name), parameter, layout: weights.get(name)! };
      }
      // The configuration decides them, whatever a loaded checkpoint says.
      const { decay, num_updates } = this.#averageState;
      decay.write(Float32Array.of(this.averages.decay));
      num_updates.write(Float32Array.of(this.averages.updates));
      yield { name: averageName("decay"), parameter: decay };
      yield { name: averageName("num_updates"), parameter: num_updates };
    }
    for (const [name, parameter] of this.losses.state()) yield { name, parameter };
    const optimizers = [
      [OPTIMIZER_NAMES.generator, this.generatorOptimizer],
      [OPTIMIZER_NAMES.discriminator, this.discriminatorOptimizer],
    ] as const;
    for (const [{ prefix }, optimizer] of optimizers) {
      for (const [name, parameter] of optimizer.state()) {
        const layout = weights.get(name.replace(/\.exp_avg(_sq)?$/, ""))!;
        yield { name: prefix + name, parameter, layout };
      }
    }
  }

  /** Gives every buffer back. */
  [Symbol.dispose](): void {
    this.#sums[Symbol.dispose]();
    for (const scalar of Object.values(this.#averageState)) scalar[Symbol.dispose]();
    this.averages?.[Symbol.dispose]();
    this.generatorOptimizer[Symbol.dispose]();
    this.discriminatorOptimizer[Symbol.dispose]();
    this.losses[Symbol.dispose]();
    this.discriminator[Symbol.dispose]();
    this.tokenizer[Symbol.dispose]();
  }

  /** The averages start as copies, but for the codebook's, which the reference makes before it replaces the quantizer. */
  #startAverages(decay: number): ExponentialMovingAverage {
    const averages = new ExponentialMovingAverage([
      ...this.tokenizer.namedParameters(),
      ...this.discriminator.namedParameters(DISCRIMINATOR),
    ], { decay });
    const bound = 1 / this.#options.model.nEmbed;
    for (const [name, average] of averages.averages()) {
      if (name !== "quantize.embedding.weight") continue;
      const key = { seed: this.#options.seed, step: 0, stream: CODEBOOK_AVERAGE_STREAM };
      fillUniform(this.#gpu, average.storage, { key, low: -bound, high: bound });
    }
    return averages;
  }

  #key(step: number): { seed: number; step: number } {
    return { seed: this.#options.seed, step };
  }

  #pass(tape: Tape, batch: ImageBatch, options = { training: true }): Pass {
    const x = tape.input(batch.images, batch.shape);
    return { x, output: this.tokenizer.forward(this.#stored(x), options) };
  }

  /** Images as the networks store them. */
  #stored(x: Tensor): Tensor {
    return cast(x, this.#options.precision ?? "f32");
  }

  #opponent(training: boolean, lossScale = 1): Opponent {
    return {
      logits: (x) => this.discriminator.forward(this.#stored(x), { training }),
      lastLayer: this.tokenizer.decoder.convOut.weight,
      lossScale,
    };
  }

  /** The discriminator's loss on images and detached reconstructions, on a tape of its own, so that it is freed at once. */
  #judge(
    pass: Pass,
    { step, lossScale, log, sentinel }: StepContext,
    use: (gradients: ReadonlyMap<Operand, Tensor>) => void,
  ): void {
    using tape = new Tape(this.#gpu, { sentinel });
    const images = {
      x: tape.constant(pass.x),
      reconstruction: tape.constant(pass.output.reconstruction),
    };
    const { loss, metrics } = this.losses.discriminator(images, this.#opponent(true), step);
    log.add(metrics);
    const parameters = this.discriminator.trainableParameters();
    // A factor of 0 makes all gradients 0: they need no backward pass, but the optimizer counts the step, as in the reference.
    const gradients = this.losses.adversarialFactor(step) === 0
      ? new Map(parameters.map((parameter) => [parameter, tape.zeros(parameter.shape)]))
      : tape.grad(loss, parameters, { last: true, gradient: lossScale });
    use(gradients);
  }

  #generate(
    { x, output }: Pass,
    { step, lossScale, log }: StepContext,
    use: (gradients: ReadonlyMap<Operand, Tensor>) => void,
  ): void {
    const images = { x, output, reconstruction: output.reconstruction };
    const { loss, metrics } = this.losses.generator(images, this.#opponent(true, lossScale), step);
    log.add(metrics);
    const parameters = this.tokenizer.trainableParameters();
    use(x.tape.grad(loss, parameters, { last: true, gradient: lossScale }));
  }
}

/** What {@linkcode TokenizerLearner.evaluate} gives. */
export interface Evaluation {
  /** Losses by the reference's names. */
  readonly metrics: Metrics;
  /** Reconstructions in [-1, 1]. */
  readonly pixels: Float32Array;
  /** Tokens, shape (images, tokens an image). */
  readonly tokens: Uint32Array;
}

/** What the parts of a step share. */
interface StepContext {
  readonly step: number;
  /** Multiplies the gradients. */
  readonly lossScale: number;
  readonly log: MetricSums;
  /** Sees every result. */
  readonly sentinel: Sentinel | undefined;
}

/** A batch and what the tokenizer made of it. */
interface Pass {
  x: Tensor;
  output: TokenizerOutput;
}

/** No module draws from a stream of this number: they count from 0. */
const CODEBOOK_AVERAGE_STREAM = 2 ** 31;

/** What the names of averages start with. */
export const AVERAGES = "model_ema.";

/**
 * Names the average of a parameter as the reference's checkpoints do.
 *
 * @param name Name of the parameter.
 * @returns `model_ema.` and the name without its dots.
 * @see SEED-Voken src/IBQ/modules/ema.py, `LitEma`.
 */
export function averageName(name: string): string {
  return AVERAGES + name.replaceAll(".", "");
}

/** Scalars of the batches of a step, summed by name on a tape that outlives the batches' own. */
class MetricSums {
  readonly #tape: Tape;
  readonly #sums: Record<string, Tensor> = {};

  constructor(tape: Tape) {
    this.#tape = tape;
  }

  add(values: Readonly<Record<string, Tensor>>): void {
    for (const [name, value] of Object.entries(values)) {
      const copy = this.#tape.copy(value);
      const sum = this.#sums[name];
      this.#sums[name] = sum ? add(sum, copy) : copy;
    }
  }

  /** Sets a value that belongs to the step, not to a batch. */
  set(name: string, value: Tensor): void {
    this.#sums[name] = this.#tape.copy(value);
  }

  async read(batches: number): Promise<Metrics> {
    const sums = await readScalars(this.#sums);
    return Object.fromEntries(
      Object.entries(sums).map((
        [name, sum],
      ) => [name, name.endsWith("_norm") ? sum : sum / batches]),
    );
  }
}

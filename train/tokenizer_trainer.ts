/** Stage I as the loop drives it: batches of images, rates by schedule, validation, checkpoints, reconstructions. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { saveCheckpoint } from "./checkpoint.ts";
import { batchSizeOf, gradientClip, type TokenizerRunConfig, totalSteps } from "./config/mod.ts";
import type { Dataset } from "./data/dataset.ts";
import { type Batch, BatchLoader, type LoaderPosition } from "./data/loader.ts";
import { reconstructImages, toPictures, writeSheet } from "./drawing.ts";
import type { RgbImage } from "./image/codec.ts";
import type { Metrics, SubmittedStep, TrainingStage } from "./loop.ts";
import { peakSignalToNoise } from "./measures.ts";
import type { StageFolder } from "./run_folder.ts";
import { describeContinuation, resumeTraining } from "./resume.ts";
import { tokenizerLearningRate } from "./schedule.ts";
import { OPTIMIZER_NAMES, tokenizerOptimizers } from "./stage_optimizers.ts";
import type { ImageBatch, TokenizerLearner, TokenizerStepSettings } from "./tokenizer_learner.ts";

/** Format name of stage I's checkpoints. */
export const TOKENIZER_FORMAT = "tessera.tokenizer";

/** Images in the pictures drawn while training. */
const DRAWN_IMAGES = 12;

/** What a {@linkcode TokenizerTrainer} is made of. */
export interface TokenizerTrainerOptions {
  /** The device. */
  readonly gpu: Gpu;
  /** The configuration. */
  readonly config: TokenizerRunConfig;
  /** The configuration as text, kept in checkpoints. */
  readonly configText: string;
  /** What the perceptual loss compares with, kept in checkpoints. */
  readonly perceptual: string;
  /** Models, losses and optimizers. */
  readonly learner: TokenizerLearner;
  /** Images for training. */
  readonly train: Dataset;
  /** Held-out images. */
  readonly validation: Dataset;
  /** Files of the stage. */
  readonly folder: StageFolder;
}

/** Trains the tokenizer on images. Disposing it drops the batches loaded ahead. */
export class TokenizerTrainer implements TrainingStage, Disposable {
  readonly #options: TokenizerTrainerOptions;
  readonly #loader: BatchLoader;
  #startStep = 0;

  /**
   * Starts at the first batch.
   *
   * @param options Models, images, configuration.
   * @throws {UserError} If there are fewer images than one batch.
   */
  constructor(options: TokenizerTrainerOptions) {
    this.#options = options;
    this.#loader = this.#load({ epoch: 0, batchInEpoch: 0 });
  }

  /** Optimizer steps of one epoch. */
  get stepsPerEpoch(): number {
    return Math.max(1, Math.floor(this.#loader.batchesPerEpoch / this.#accumulate));
  }

  /** Optimizer steps of the whole run. */
  get totalSteps(): number {
    return totalSteps(this.#options.config.trainer, this.stepsPerEpoch);
  }

  /** Runs one optimizer step. */
  async step(step: number): Promise<SubmittedStep> {
    const batches: Batch[] = [];
    for (let i = 0; i < this.#accumulate; i++) batches.push(await this.#loader.next());
    const settings = this.#settings(step);
    const metrics = this.#options.learner
      .step(batches.map((batch) => this.#imageBatch(batch)), settings)
      .then((values) => ({ ...values, "learning_rate": settings.learningRate }));
    const images = batches.reduce((sum, { labels }) => sum + labels.length, 0);
    return { images, epoch: batches[0]!.epoch, metrics };
  }

  /** Names the op that is not finite. */
  async locateNonFinite(step: number): Promise<string> {
    using loader = this.#load(this.#position(step));
    const batches: ImageBatch[] = [];
    for (let i = 0; i < this.#accumulate; i++) {
      batches.push(this.#imageBatch(await loader.next()));
    }
    return await this.#options.learner.locateNonFinite(batches, this.#settings(step));
  }

  /** Measures the validation split with the averaged weights: the losses, `psnr` in dB, and the share of codes used. */
  async validate(step: number): Promise<Metrics> {
    const { learner, validation, config } = this.#options;
    const { limitValBatches } = config.trainer;
    const used = new Set<number>();
    const sums: Record<string, number> = {};
    let seen = 0;
    await this.#withAverages(async () => {
      for (const indices of this.#validationBatches(limitValBatches ?? Infinity)) {
        const { images } = await validation.load(indices);
        const shape = this.#shape(indices.length);
        const { metrics, pixels, tokens } = await learner.evaluate({ images, shape }, step);
        const psnr = peakSignalToNoise(images, pixels, indices.length);
        for (const token of tokens) used.add(token);
        for (const [name, value] of Object.entries({ ...metrics, psnr })) {
          sums[name] = (sums[name] ?? 0) + value * indices.length;
        }
        seen += indices.length;
      }
    });
    const means = Object.fromEntries(
      Object.entries(sums).map(([name, sum]) => [name, sum / seen]),
    );
    return { ...means, "codes_used": used.size / config.model.params.nEmbed };
  }

  /** Writes a checkpoint. */
  async save(path: string, step: number): Promise<void> {
    const { learner, configText, config, perceptual } = this.#options;
    const { epoch, batchInEpoch } = this.#position(step);
    await saveCheckpoint(path, learner.entries(), {
      format: TOKENIZER_FORMAT,
      step: String(step),
      seed: String(config.seedEverything),
      epoch: String(epoch),
      "batch_in_epoch": String(batchInEpoch),
      [OPTIMIZER_NAMES.generator.countsKey]: JSON.stringify(learner.generatorOptimizer.stepCounts),
      [OPTIMIZER_NAMES.discriminator.countsKey]: JSON.stringify(
        learner.discriminatorOptimizer.stepCounts,
      ),
      "learning_rate": String(this.#settings(step).learningRate),
      "perceptual_network": perceptual,
      ...learner.lossScaling?.metadata(),
      config: configText,
    });
  }

  /**
   * Continues from a checkpoint.
   *
   * @param path The file: of a run, or of a training of the reference.
   * @param say Gets what is to know of the latter.
   * @returns Steps done.
   * @throws {UserError} If it does not fit the model.
   */
  async resume(path: string, say: (line: string) => void = () => {}): Promise<number> {
    const { learner } = this.#options;
    const adams = [learner.generatorOptimizer, learner.discriminatorOptimizer];
    const { step, reference } = await resumeTraining(path, {
      format: TOKENIZER_FORMAT,
      entries: learner.entries(),
      optimizers: tokenizerOptimizers(learner).map((optimizer, i) => ({
        ...optimizer,
        adam: adams[i]!,
      })),
      lossScaling: learner.lossScaling,
      say,
    });
    this.#startStep = step;
    const position = this.#position(step);
    this.#loader.seek(position);
    if (reference) {
      const rates = [step, step - 1].map((number) => this.#settings(number).learningRate);
      say(describeContinuation(reference, { ...position, step, rates }));
    }
    return step;
  }

  /** Draws validation images above their reconstructions. */
  async draw(step: number): Promise<string> {
    const { learner, validation, folder, gpu, config } = this.#options;
    const count = Math.min(DRAWN_IMAGES, validation.length);
    const { images } = await validation.load(Array.from({ length: count }, (_, i) => i));
    const { resolution } = validation;
    const path = folder.imageFile("reconstructions", step);
    await this.#withAverages(async () => {
      const models = { gpu, tokenizer: learner.tokenizer };
      const reconstructions: RgbImage[] = [];
      // No more at once than a training step holds.
      const batch = batchSizeOf(config) * resolution * resolution * 3;
      for (let start = 0; start < images.length; start += batch) {
        const part = images.subarray(start, start + batch);
        reconstructions.push(...toPictures(await reconstructImages(models, part, resolution)));
      }
      await writeSheet(path, [
        { label: "images", images: toPictures({ pixels: images, resolution }) },
        { label: "reconstructions", images: reconstructions },
      ], { title: `Validation images after ${step} steps` });
    });
    return path;
  }

  /** Drops the batches loaded ahead. */
  [Symbol.dispose](): void {
    this.#loader[Symbol.dispose]();
  }

  get #accumulate(): number {
    return this.#options.config.trainer.accumulateGradBatches;
  }

  #load(position: LoaderPosition): BatchLoader {
    const { train, config } = this.#options;
    return new BatchLoader(train, {
      batchSize: batchSizeOf(config),
      seed: config.seedEverything,
      position,
    });
  }

  /** Epoch and batch of a step: every step takes the same number of batches. */
  #position(step: number): LoaderPosition {
    const number = step * this.#accumulate;
    const { batchesPerEpoch } = this.#loader;
    return { epoch: Math.floor(number / batchesPerEpoch), batchInEpoch: number % batchesPerEpoch };
  }

  #shape(batch: number): ImageBatch["shape"] {
    const { resolution } = this.#options.train;
    return [batch, resolution, resolution, 3];
  }

  #imageBatch({ images, labels }: Batch): ImageBatch {
    return { images, shape: this.#shape(labels.length) };
  }

  #settings(step: number): TokenizerStepSettings {
    const { config } = this.#options;
    const position = {
      step,
      stepsPerEpoch: this.stepsPerEpoch,
      maxSteps: this.totalSteps,
      startStep: this.#startStep,
    };
    return {
      step,
      learningRate: tokenizerLearningRate(position, config.model.params),
      clip: gradientClip(config),
    };
  }

  *#validationBatches(limit: number): Generator<number[]> {
    const { validation, config } = this.#options;
    const batchSize = batchSizeOf(config);
    const count = Math.min(validation.length, limit * batchSize);
    for (let start = 0; start < count; start += batchSize) {
      const size = Math.min(batchSize, count - start);
      yield Array.from({ length: size }, (_, i) => start + i);
    }
  }

  async #withAverages(body: () => Promise<void>): Promise<void> {
    const { averages } = this.#options.learner;
    averages?.swap();
    try {
      await body();
    } finally {
      averages?.swap();
    }
  }
}

/** Stage II as the loop drives it: batches of tokens, rates by schedule, validation, checkpoints, samples. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import { saveCheckpoint } from "./checkpoint.ts";
import { batchSizeOf, gradientClip, totalSteps, type TransformerRunConfig } from "./config/mod.ts";
import type { LoaderPosition } from "./data/loader.ts";
import { sampleImages, toPictures, writeSheet } from "./drawing.ts";
import type { Metrics, SubmittedStep, TrainingStage } from "./loop.ts";
import { unigramCrossEntropy } from "./measures.ts";
import type { StageFolder } from "./run_folder.ts";
import { describeContinuation, resumeTraining } from "./resume.ts";
import { transformerSchedule } from "./schedule.ts";
import { OPTIMIZER_NAMES, transformerOptimizers } from "./stage_optimizers.ts";
import type { TokenBatch, TokenSource, TrainingTokens } from "./tokens.ts";
import {
  evaluateTokens,
  type TransformerLearner,
  type TransformerStepSettings,
} from "./transformer_learner.ts";

/** Format name of stage II's checkpoints. */
export const TRANSFORMER_FORMAT = "tessera.transformer";

/** Samples of each class in the pictures drawn while training. */
const DRAWN_PER_CLASS = 8;

/** What a {@linkcode TransformerTrainer} is made of. */
export interface TransformerTrainerOptions {
  /** The device. */
  readonly gpu: Gpu;
  /** The complete configuration. */
  readonly config: TransformerRunConfig;
  /** The configuration as text, kept in checkpoints. */
  readonly configText: string;
  /** Model and optimizer. */
  readonly learner: TransformerLearner;
  /** Decodes samples. */
  readonly tokenizer: Tokenizer;
  /** The tokens. */
  readonly tokens: { readonly train: TrainingTokens; readonly validation: TokenSource };
  /** Names of the classes, for pictures and kept in checkpoints. */
  readonly classNames: readonly string[];
  /** Files of the stage. */
  readonly folder: StageFolder;
}

/** Trains the transformer on cached tokens. */
export class TransformerTrainer implements TrainingStage {
  readonly #options: TransformerTrainerOptions;
  #startStep = 0;

  /**
   * Starts at the first batch.
   *
   * @param options Model, tokens, configuration.
   */
  constructor(options: TransformerTrainerOptions) {
    this.#options = options;
  }

  /** Optimizer steps of one epoch. */
  get stepsPerEpoch(): number {
    const { accumulateGradBatches } = this.#options.config.trainer;
    return Math.max(
      1,
      Math.floor(this.#options.tokens.train.batchesPerEpoch / accumulateGradBatches),
    );
  }

  /** Optimizer steps of the whole run. */
  get totalSteps(): number {
    return totalSteps(this.#options.config.trainer, this.stepsPerEpoch);
  }

  /** Runs one optimizer step. */
  async step(step: number): Promise<SubmittedStep> {
    const { learner } = this.#options;
    const batches = await this.#batchesOf(step);
    const settings = this.#settings(step);
    const metrics = learner.step(batches, settings).then((values) => ({
      ...values,
      "learning_rate": settings.learningRate,
    }));
    const images = batches.reduce((sum, { labels }) => sum + labels.length, 0);
    return { images, epoch: batches[0]!.epoch, metrics };
  }

  /** Names the op that is not finite. */
  async locateNonFinite(step: number): Promise<string> {
    const batches = await this.#batchesOf(step);
    return await this.#options.learner.locateNonFinite(batches, this.#settings(step));
  }

  /** Measures the validation tokens: `loss`, the unigram entropy, and their ratio. */
  async validate(): Promise<Metrics> {
    const { tokens: { train, validation }, config, learner, gpu } = this.#options;
    const batchSize = batchSizeOf(config);
    const count = validation.labels.length;
    const limit = (config.trainer.limitValBatches ?? Infinity) * batchSize;
    let sum = 0;
    let seen = 0;
    for (let start = 0; start < Math.min(count, limit); start += batchSize) {
      const size = Math.min(batchSize, count - start);
      const images = Array.from({ length: size }, (_, i) => start + i);
      const batch = validation.take(images);
      sum += size * await evaluateTokens(gpu, learner.transformer, batch);
      seen += size;
    }
    // Tokens that are drawn anew at each step have no frequencies yet: then the held-out ones stand for them.
    const counted = train.counts() ?? validation.counts();
    const unigramEntropy = unigramCrossEntropy(counted, validation.counts());
    const loss = sum / seen;
    return { loss, "unigram_entropy": unigramEntropy, ratio: loss / unigramEntropy };
  }

  /** Writes a checkpoint. */
  async save(path: string, step: number): Promise<void> {
    const { learner, configText, config, classNames } = this.#options;
    const { epoch, batchInEpoch } = this.#position(step);
    await saveCheckpoint(path, learner.entries(), {
      format: TRANSFORMER_FORMAT,
      step: String(step),
      seed: String(config.seedEverything),
      epoch: String(epoch),
      "batch_in_epoch": String(batchInEpoch),
      [OPTIMIZER_NAMES.transformer.countsKey]: JSON.stringify(learner.optimizer.stepCounts),
      "learning_rate": String(this.#settings(step).learningRate),
      "class_names": JSON.stringify(classNames),
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
    const { step, reference } = await resumeTraining(path, {
      format: TRANSFORMER_FORMAT,
      entries: learner.entries(),
      optimizers: transformerOptimizers(learner.transformer).map((optimizer) => ({
        ...optimizer,
        adam: learner.optimizer,
      })),
      lossScaling: learner.lossScaling,
      say,
    });
    this.#startStep = step;
    if (reference) {
      const rates = [step, step - 1].map((number) => this.#settings(number).learningRate);
      say(describeContinuation(reference, { ...this.#position(step), step, rates }));
    }
    return step;
  }

  /** Draws samples of every class. */
  async draw(step: number): Promise<string> {
    const { gpu, learner, tokenizer, classNames, folder } = this.#options;
    const shown = classNames.slice(0, 16);
    const classes = shown.flatMap((_, label) => new Array<number>(DRAWN_PER_CLASS).fill(label));
    const pictures = toPictures(
      await sampleImages({ gpu, transformer: learner.transformer, tokenizer }, {
        classes,
        seeds: classes.map((_, i) => i),
        guidance: 2,
        batchSize: DRAWN_PER_CLASS * 4,
      }),
    );
    const rows = shown.map((label, i) => ({
      label,
      images: pictures.slice(i * DRAWN_PER_CLASS, (i + 1) * DRAWN_PER_CLASS),
    }));
    const path = folder.imageFile("samples", step);
    await writeSheet(path, rows, { title: `Samples after ${step} steps` });
    return path;
  }

  async #batchesOf(step: number): Promise<TokenBatch[]> {
    const { tokens: { train }, config } = this.#options;
    const { accumulateGradBatches: count } = config.trainer;
    const batches: TokenBatch[] = [];
    for (let i = 0; i < count; i++) batches.push(await train.batch(step * count + i));
    return batches;
  }

  /** Epoch and batch of the next step: all the state that the data needs. */
  #position(step: number): LoaderPosition {
    const number = step * this.#options.config.trainer.accumulateGradBatches;
    const { batchesPerEpoch } = this.#options.tokens.train;
    return { epoch: Math.floor(number / batchesPerEpoch), batchInEpoch: number % batchesPerEpoch };
  }

  #settings(step: number): TransformerStepSettings {
    const { config } = this.#options;
    const position = {
      step,
      stepsPerEpoch: this.stepsPerEpoch,
      maxSteps: this.totalSteps,
      startStep: this.#startStep,
    };
    return {
      ...transformerSchedule(position, config.model.params),
      step,
      clip: gradientClip(config),
    };
  }
}

/** The two stages of a run, each from configuration to last checkpoint. @module */

import { cpuUsage } from "node:process";
import type { Gpu } from "../kernels/gpu.ts";
import { readCheckpointMetadata } from "./checkpoint.ts";
import { CheckpointKeeper } from "./checkpoint_keeper.ts";
import {
  checkpointRetention,
  completeTransformer,
  configToYaml,
  imageSize,
  type LoadedConfig,
  type RunConfig,
  saveInterval,
  type TokenizerRunConfig,
  type TransformerRunConfig,
  validationInterval,
  withBatchSize,
} from "./config/mod.ts";
import { openSplit } from "./data_module.ts";
import { writeFileAtomically } from "./files/atomic.ts";
import { adoptFirstStage } from "./first_stage.ts";
import { assertPrecision } from "./learner.ts";
import { type Reporter, RunLog } from "./log.ts";
import { runLoop, type TrainingStage } from "./loop.ts";
import { memoryBudgetBytes } from "./open_gpu.ts";
import { openTokenizer } from "./open_models.ts";
import { preparePerceptual } from "./perceptual_weights.ts";
import { resolveBatchSize } from "./plan.ts";
import { Progress } from "./progress.ts";
import type { RunFolder, StageFolder } from "./run_folder.ts";
import type { ProfileSession } from "./profile_session.ts";
import type { Startup } from "./startup.ts";
import { assertOwnFirstStage } from "./stage_check.ts";
import { idleDataOptions, stageTokens } from "./stage_tokens.ts";
import { startTokenizer, startTransformer } from "./start_weights.ts";
import { TokenizerLearner } from "./tokenizer_learner.ts";
import { TokenizerTrainer } from "./tokenizer_trainer.ts";
import {
  lossOf,
  type StepRun,
  tokenizerLearnerOptions,
  transformerLearnerOptions,
} from "./training_step.ts";
import { TransformerLearner } from "./transformer_learner.ts";
import { TransformerTrainer } from "./transformer_trainer.ts";

/** What both stages need. */
export interface StageContext {
  /** The device. */
  readonly gpu: Gpu;
  /** The run. */
  readonly run: RunFolder;
  /** Where messages go. */
  readonly reporter: Reporter;
  /** Ends the stage after the running step, with a checkpoint. */
  readonly signal: AbortSignal;
  /** Reports the first step of the process. */
  readonly startup?: Startup;
  /** Opens a profile of a stage's steps. */
  readonly profile?: (folder: StageFolder) => ProfileSession;
}

/** A stage that a loop can drive and a checkpoint can restore. */
interface ResumableStage extends TrainingStage {
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  resume(path: string, say: (line: string) => void): Promise<number>;
}

/**
 * Trains stage I, from its newest checkpoint if there is one.
 *
 * @param loaded The configuration.
 * @param context Device, run, signal.
 * @returns Whether it came to its end; false if the signal came first.
 * @throws {UserError} If data or checkpoint do not fit the configuration, or the adapter does not know its precision.
 * @throws {NonFiniteError} If a loss or a gradient is not finite.
 */
export async function trainTokenizer(
  loaded: LoadedConfig<TokenizerRunConfig>,
  context: StageContext,
): Promise<boolean> {
  const { gpu, run, reporter } = context;
  const { data, model, trainer: { precision } } = loaded.config;
  assertPrecision(gpu, precision);
  const folder = run.stage("tokenizer");
  const resolution = imageSize(loaded.config, model.params);
  const warn = (message: string): void => reporter.warn(message);
  using train = await openSplit(data.params, { split: "train", resolution, warn });
  using validation = await openSplit(data.params, {
    split: "validation",
    resolution,
    warn,
  });
  const loss = lossOf(loaded.config, loaded.file);
  const config = await withFittingBatch(loaded.config, {
    run: { stage: "tokenizer", config: loaded.config, file: loaded.file },
    images: train.length,
    context,
  });
  using learner = new TokenizerLearner(gpu, tokenizerLearnerOptions(config, loaded.file));
  const resumeFrom = await resumePoint(folder, config);
  const earlier = resumeFrom === undefined
    ? undefined
    : (await readCheckpointMetadata(resumeFrom)).perceptual_network;
  const perceptual = await preparePerceptual(learner.losses.perceptual, loss, { earlier });
  reporter.info(perceptual);
  const { ckptPath, ckptPartial } = config.model.params;
  if (resumeFrom === undefined && ckptPath !== null) {
    const say = (line: string): void => reporter.info(line);
    await startTokenizer(learner, ckptPath, { partial: ckptPartial, say });
  }
  const configText = configToYaml(config);
  using trainer = new TokenizerTrainer({
    gpu,
    config,
    configText,
    perceptual,
    learner,
    train,
    validation,
    folder,
  });
  return await runStage(trainer, {
    ...context,
    config,
    configText,
    folder,
    resumeFrom,
    label: "tokenizer",
    shown: ["total_loss", "reconstruct_loss", "perceptual_loss", "disc_loss"],
    note: { "perceptual_network": perceptual },
  });
}

/**
 * Trains stage II on the tokens of the run's tokenizer, or the one whose checkpoint the configuration names, from its newest
 * checkpoint if there is one.
 *
 * @param loaded The configuration.
 * @param context Device, run, signal.
 * @returns Whether it came to its end; false if the signal came first.
 * @throws {UserError} If there is no trained tokenizer, it does not fit the configuration, or the adapter does not know its precision.
 * @throws {NonFiniteError} If a loss or a gradient is not finite.
 */
export async function trainTransformer(
  loaded: LoadedConfig<TransformerRunConfig>,
  context: StageContext,
): Promise<boolean> {
  const { gpu, run, reporter } = context;
  assertPrecision(gpu, loaded.config.trainer.precision);
  const folder = run.stage("transformer");
  const say = (line: string): void => reporter.info(line);
  const adopted = await adoptFirstStage(gpu, loaded, { folder: run.stage("tokenizer"), say });
  if (adopted !== undefined) reporter.info(adopted);
  const opened = await openTokenizer(gpu, run.stage("tokenizer"), { say });
  using tokenizer = opened.tokenizer;
  const resolution = imageSize(loaded.config, opened.params);
  const warn = (message: string): void => reporter.warn(message);
  using train = await openSplit(loaded.config.data.params, { split: "train", resolution, warn });
  using validation = await openSplit(loaded.config.data.params, {
    split: "validation",
    resolution,
    warn,
  });
  assertOwnFirstStage(loaded, opened.params);
  for (const warning of idleDataOptions(loaded)) warn(warning);
  const complete = completeTransformer(loaded.config, {
    tokenizer: opened.params,
    classNum: train.classNames.length,
    file: loaded.file,
  });
  const { gpt } = complete;
  const config = await withFittingBatch(complete.config, {
    run: { stage: "transformer", config: complete.config, gpt, file: loaded.file },
    images: train.length,
    context,
  });
  await folder.create();
  using tokens = await stageTokens({
    context,
    config,
    folder,
    tokenizer,
    model: opened.params,
    checkpoint: opened.checkpoint,
    train,
    validation,
  });
  if (!tokens) return false;
  using learner = new TransformerLearner(gpu, transformerLearnerOptions(config, gpt));
  const resumeFrom = await resumePoint(folder, config);
  if (resumeFrom === undefined) {
    await startTransformer(learner, { config, tokenizerCheckpoint: opened.checkpoint, say });
  }
  const configText = configToYaml(config);
  const trainer = new TransformerTrainer({
    gpu,
    config,
    configText,
    learner,
    tokenizer,
    tokens,
    classNames: train.classNames,
    folder,
  });
  return await runStage(trainer, {
    ...context,
    config,
    configText,
    folder,
    resumeFrom,
    label: "transformer",
    shown: ["loss"],
    note: {
      tokens: tokens.tokens,
      classes: [...train.classNames],
    },
  });
}

/** Says how many images a batch has, where the configuration leaves that to the memory. */
async function withFittingBatch<Config extends RunConfig>(
  config: Config,
  options: { run: StepRun; images: number; context: StageContext },
): Promise<Config> {
  if (config.data.params.batchSize !== "auto") return config;
  const { run, images, context: { gpu, reporter } } = options;
  const totalBytes = memoryBudgetBytes();
  const batchSize = await resolveBatchSize(gpu, run, { totalBytes, images });
  reporter.info(`batch size ${batchSize}: the largest that fits, of at most ${images} images`);
  return withBatchSize(config, batchSize);
}

/** What {@linkcode runStage} needs beside the trainer. */
interface RunStageOptions extends StageContext {
  readonly config: RunConfig;
  readonly configText: string;
  readonly folder: StageFolder;
  readonly resumeFrom: string | undefined;
  readonly label: string;
  readonly shown: readonly string[];
  readonly note: Readonly<Record<string, string | number | readonly string[]>>;
}

async function runStage(stage: ResumableStage, options: RunStageOptions): Promise<boolean> {
  const { folder, config, reporter, signal, gpu, resumeFrom } = options;
  const { trainer } = config;
  await folder.create();
  const say = (line: string): void => reporter.info(line);
  const startStep = resumeFrom === undefined ? 0 : await stage.resume(resumeFrom, say);
  // Only now: a configuration that does not fit the checkpoint must not replace the one that does.
  await writeFileAtomically(folder.configFile, options.configText);
  const { totalSteps, stepsPerEpoch } = stage;
  if (resumeFrom !== undefined) {
    reporter.info(`${options.label}: resumed ${resumeFrom} at step ${startStep}`);
  }
  using log = await RunLog.open(folder.logFile, { resumeStep: startStep });
  log.write({ event: "start", step: startStep, adapter: gpu.adapter.name, ...options.note });
  const progress = new Progress({
    label: options.label,
    totalSteps,
    stepsPerEpoch,
    startStep,
    writeLine: (line) => reporter.info(line),
  });
  const profile = options.profile?.(folder);
  try {
    const done = await runLoop(stage, {
      idleMs: () => gpu.stats().idleMs,
      onFirstStep: () => {
        const first = options.startup?.firstStep(performance.now() / 1000, processorSeconds());
        if (!first) return;
        log.write(first.record);
        progress.say(first.text);
      },
      ...(profile && { onStep: () => profile.step() }),
      folder,
      log,
      progress,
      keeper: await CheckpointKeeper.open(folder, checkpointRetention(trainer)),
      startStep,
      totalSteps,
      logEvery: trainer.logEveryNSteps,
      validateEvery: trainer.limitValBatches === 0 ? 0 : validationInterval(trainer, stepsPerEpoch),
      saveEvery: saveInterval(trainer, stepsPerEpoch),
      drawEvery: trainer.imageEveryNSteps,
      shown: options.shown,
      signal,
    });
    await profile?.finish();
    return done >= totalSteps;
  } finally {
    await progress.stop();
  }
}

function processorSeconds(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
}

/** The checkpoint to continue from: the stage's newest, or the one that the configuration names. */
async function resumePoint(folder: StageFolder, config: RunConfig): Promise<string | undefined> {
  return (await folder.checkpoints()).at(-1) ?? config.ckptPath ?? undefined;
}

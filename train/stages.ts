/** The two stages of a run, each from configuration to last checkpoint. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { loadParameters } from "../models/weights.ts";
import { type CheckpointEntry, loadCheckpoint } from "./checkpoint.ts";
import {
  completeTransformer,
  configToYaml,
  imageSize,
  type LoadedConfig,
  type RunConfig,
  saveInterval,
  type TokenizerConfig,
  type TokenizerLossConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
  validationInterval,
} from "./config/mod.ts";
import { openSplit } from "./data_module.ts";
import { UserError } from "./errors.ts";
import { writeFileAtomically } from "./files/atomic.ts";
import { SafetensorsReader } from "./files/safetensors.ts";
import { type Reporter, RunLog } from "./log.ts";
import { runLoop, type TrainingStage } from "./loop.ts";
import { openTokenizer } from "./open_models.ts";
import { Progress } from "./progress.ts";
import type { RunFolder, StageFolder } from "./run_folder.ts";
import { cacheTokens } from "./tokenize.ts";
import { TokenizerLearner } from "./tokenizer_learner.ts";
import { TOKENIZER_FORMAT, TokenizerTrainer } from "./tokenizer_trainer.ts";
import { TransformerLearner } from "./transformer_learner.ts";
import { TRANSFORMER_FORMAT, TransformerTrainer } from "./transformer_trainer.ts";

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
}

/** A stage that a loop can drive and a checkpoint can restore. */
interface ResumableStage extends TrainingStage {
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  resume(path: string): Promise<number>;
}

/**
 * Trains stage I, from its newest checkpoint if there is one.
 *
 * @param loaded The configuration.
 * @param context Device, run, signal.
 * @returns Whether it came to its end; false if the signal came first.
 * @throws {UserError} If data or checkpoint do not fit the configuration.
 * @throws {NonFiniteError} If a loss or a gradient is not finite.
 */
export async function trainTokenizer(
  loaded: LoadedConfig<TokenizerRunConfig>,
  context: StageContext,
): Promise<boolean> {
  const { gpu, run, reporter } = context;
  const { config } = loaded;
  const folder = run.stage("tokenizer");
  const resolution = imageSize(config, config.model.params);
  const warn = (message: string): void => reporter.warn(message);
  using train = await openSplit(config.data.params, { split: "train", resolution, warn });
  using validation = await openSplit(config.data.params, {
    split: "validation",
    resolution,
    warn,
  });
  const loss = lossOf(config.model.params, loaded.file);
  using learner = new TokenizerLearner(gpu, {
    model: config.model.params,
    loss: { ...loss, useEntropyLoss: config.model.params.useEntropyLoss },
    emaDecay: config.model.params.useEma ? config.model.params.emaDecay : null,
    seed: config.seedEverything,
  });
  const perceptual = await preparePerceptual(learner, loss);
  reporter.info(perceptual);
  if (config.model.params.ckptPath !== null) {
    await loadWeights(config.model.params.ckptPath, TOKENIZER_FORMAT, learner.tokenizer);
  }
  const configText = loaded.toYaml();
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
    label: "tokenizer",
    shown: ["total_loss", "reconstruct_loss", "perceptual_loss", "disc_loss"],
    note: { "perceptual_network": perceptual },
  });
}

/**
 * Trains stage II on the tokens of the run's tokenizer, from its newest checkpoint if there is one.
 *
 * @param loaded The configuration.
 * @param context Device, run, signal.
 * @returns Whether it came to its end; false if the signal came first.
 * @throws {UserError} If there is no trained tokenizer, or it does not fit the configuration.
 * @throws {NonFiniteError} If a loss or a gradient is not finite.
 */
export async function trainTransformer(
  loaded: LoadedConfig<TransformerRunConfig>,
  context: StageContext,
): Promise<boolean> {
  const { gpu, run, reporter } = context;
  const folder = run.stage("transformer");
  const opened = await openTokenizer(gpu, run.stage("tokenizer"));
  using tokenizer = opened.tokenizer;
  const resolution = imageSize(loaded.config, opened.config.model.params);
  const warn = (message: string): void => reporter.warn(message);
  using train = await openSplit(loaded.config.data.params, { split: "train", resolution, warn });
  using validation = await openSplit(loaded.config.data.params, {
    split: "validation",
    resolution,
    warn,
  });
  const { config, gpt } = completeTransformer(loaded.config, {
    tokenizer: opened.config.model.params,
    classNum: train.classNames.length,
    file: loaded.file,
  });
  await folder.create();
  reporter.info(`encoding ${train.length + validation.length} images into tokens`);
  const cache = await cacheTokens({
    gpu,
    tokenizer,
    checkpoint: opened.checkpoint,
    data: JSON.stringify(config.data.params.train),
    train,
    validation,
    batchSize: config.data.params.batchSize,
    path: folder.tokensFile,
  });
  using learner = new TransformerLearner(gpu, {
    model: gpt,
    seed: config.seedEverything,
    pkeep: config.model.params.pkeep,
  });
  if (config.model.params.ckptPath !== null) {
    await loadWeights(config.model.params.ckptPath, TRANSFORMER_FORMAT, learner.transformer);
  }
  const configText = configToYaml(config);
  const trainer = new TransformerTrainer({
    gpu,
    config,
    configText,
    learner,
    tokenizer,
    cache,
    classNames: train.classNames,
    folder,
  });
  return await runStage(trainer, {
    ...context,
    config,
    configText,
    folder,
    label: "transformer",
    shown: ["loss"],
    note: {
      tokens: cache.train.tokens.length,
      classes: [...train.classNames],
    },
  });
}

/** What {@linkcode runStage} needs beside the trainer. */
interface RunStageOptions extends StageContext {
  readonly config: RunConfig;
  readonly configText: string;
  readonly folder: StageFolder;
  readonly label: string;
  readonly shown: readonly string[];
  readonly note: Readonly<Record<string, string | number | readonly string[]>>;
}

async function runStage(stage: ResumableStage, options: RunStageOptions): Promise<boolean> {
  const { folder, config, reporter, signal, gpu } = options;
  const { trainer } = config;
  await folder.create();
  await writeFileAtomically(folder.configFile, options.configText);
  const newest = (await folder.checkpoints()).at(-1) ?? config.ckptPath ?? undefined;
  const startStep = newest === undefined ? 0 : await stage.resume(newest);
  const { totalSteps, stepsPerEpoch } = stage;
  if (newest !== undefined) {
    reporter.info(`${options.label}: resumed ${newest} at step ${startStep}`);
  }
  using log = await RunLog.open(folder.logFile, { resumeStep: startStep });
  log.write({ event: "start", step: startStep, adapter: gpu.adapter.name, ...options.note });
  const progress = new Progress({ label: options.label, totalSteps, stepsPerEpoch, startStep });
  try {
    const done = await runLoop(stage, {
      folder,
      log,
      progress,
      startStep,
      totalSteps,
      logEvery: trainer.logEveryNSteps,
      validateEvery: validationInterval(trainer, stepsPerEpoch),
      saveEvery: saveInterval(trainer, stepsPerEpoch),
      drawEvery: trainer.imageEveryNSteps,
      shown: options.shown,
      signal,
    });
    return done >= totalSteps;
  } finally {
    await progress.stop();
  }
}

function lossOf(config: TokenizerConfig, file: string): TokenizerLossConfig {
  const { lossconfig } = config;
  if (lossconfig.target === "tessera.losses.VQLPIPSWithDiscriminator") return lossconfig.params;
  throw new UserError(
    `Cannot train with config ${file}: expected lossconfig.target tessera.losses.VQLPIPSWithDiscriminator, found ${lossconfig.target}`,
  );
}

/** Loads the weights of the perceptual network, or says in one line that they are random. */
async function preparePerceptual(
  learner: TokenizerLearner,
  loss: TokenizerLossConfig,
): Promise<string> {
  const { perceptual } = learner.losses;
  if (!perceptual) return "perceptual loss: none, perceptual_weight is 0";
  const { vggWeights, vggSeed, vggWidth } = loss;
  if (vggWeights === null) {
    return `perceptual loss: LPIPS on a random VGG16 (seed ${vggSeed}, ${
      vggWidth.join("-")
    } channels), as no weights are configured`;
  }
  using file = await SafetensorsReader.open(vggWeights);
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, { shape }] of file.entries) {
    tensors.set(name, { shape, data: await file.float32(name) });
  }
  const { missing, unexpected, mismatched } = loadParameters(perceptual, tensors);
  const problems = [
    ...missing.map((name) => `${name} is missing`),
    ...unexpected.map((name) => `${name} is unknown`),
    ...mismatched.map(({ name, expected, found }) =>
      `${name} has shape [${found}] instead of [${expected}]`
    ),
  ];
  if (problems.length > 0) {
    throw new UserError(
      `Cannot load ${vggWeights}: expected the tensors of LPIPS with VGG16 of ${
        vggWidth.join("-")
      } channels, found that ${problems.slice(0, 5).join(", ")}`,
    );
  }
  return `perceptual loss: LPIPS with the weights of ${vggWeights}`;
}

/** Takes only the weights of a checkpoint, as a start of another training. */
async function loadWeights(
  path: string,
  format: string,
  module: Parameters<typeof loadParameters>[0],
): Promise<void> {
  const prefix = format === TRANSFORMER_FORMAT ? "transformer." : "";
  const entries: CheckpointEntry[] = [];
  for (const [name, parameter] of module.namedParameters(prefix)) entries.push({ name, parameter });
  await loadCheckpoint(path, entries, { format, complete: false });
}

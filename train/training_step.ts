/** One training step of a configuration over made-up data: for plans of memory, tuning and measurements. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { Parameter } from "../nn/tensor.ts";
import {
  asTokenizer,
  asTransformer,
  type CompleteGptConfig,
  completeTransformer,
  imageSize,
  isTokenizerRun,
  type LoadedConfig,
  type RunConfig,
  type TokenizerConfig,
  type TokenizerLossConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
} from "./config/mod.ts";
import { UserError } from "./errors.ts";
import type { Metrics } from "./loop.ts";
import { TokenizerLearner, type TokenizerLearnerOptions } from "./tokenizer_learner.ts";
import { TransformerLearner, type TransformerLearnerOptions } from "./transformer_learner.ts";

/** What a configuration says of a step, complete: enough to make its learner. */
export type StepRun =
  | {
    readonly stage: "tokenizer";
    readonly config: TokenizerRunConfig;
    readonly file: string;
  }
  | {
    readonly stage: "transformer";
    readonly config: TransformerRunConfig;
    readonly gpt: CompleteGptConfig;
    readonly file: string;
  };

/** A learner, and steps of it. */
export interface TrainingStep extends Disposable {
  /** Parameters by module: those that are trained, then the frozen ones. */
  readonly modules: ReadonlyMap<string, readonly Parameter[]>;
  /**
   * Takes an optimizer step.
   *
   * @param number Number of the step, from 0; the discriminator takes part in all of them.
   * @returns Losses and norms.
   */
  readonly run: (number: number) => Promise<Metrics>;
}

/** Classes of a transformer whose configuration leaves them to the data set, as ImageNet has them. */
const CLASSES = 1000;
const LEARNING_RATE = 1e-4;

/**
 * Takes the losses of stage I from a configuration.
 *
 * @param config The configuration.
 * @param file Its name, for messages.
 * @returns The losses.
 * @throws {UserError} If it is not one that trains on images.
 */
export function lossOf({ model }: TokenizerRunConfig, file: string): TokenizerLossConfig {
  const { lossconfig, stage, ddconfig, quantizer } = model.params;
  if (quantizer !== "index") {
    throw new UserError(
      `Cannot train with config ${file}: expected index as model.init_args.quantizer, found ${quantizer}, which only encodes and decodes`,
    );
  }
  if (ddconfig.inChannels !== 3) {
    throw new UserError(
      `Cannot train with config ${file}: expected 3 as model.init_args.ddconfig.in_channels, as images are red, green and blue, found ${ddconfig.inChannels}`,
    );
  }
  if (stage !== null) {
    throw new UserError(
      `Cannot train with config ${file}: expected null as model.init_args.stage, found ${stage}, which is for tokenizers that are only used`,
    );
  }
  if (lossconfig.target === "tessera.losses.VQLPIPSWithDiscriminator") return lossconfig.params;
  throw new UserError(
    `Cannot train with config ${file}: expected lossconfig.target tessera.losses.VQLPIPSWithDiscriminator, found ${lossconfig.target}`,
  );
}

/**
 * Takes what a learner of stage I is made of from a configuration.
 *
 * @param config The configuration.
 * @param file Its name, for messages.
 * @returns The learner's options.
 * @throws {UserError} If it is not one that trains on images.
 */
export function tokenizerLearnerOptions(
  config: TokenizerRunConfig,
  file: string,
): TokenizerLearnerOptions {
  const { model: { params }, trainer } = config;
  return {
    model: params,
    loss: { ...lossOf(config, file), useEntropyLoss: params.useEntropyLoss },
    emaDecay: params.useEma ? params.emaDecay : null,
    seed: config.seedEverything,
    precision: trainer.precision,
    detectAnomaly: trainer.detectAnomaly,
  };
}

/**
 * Takes what a learner of stage II is made of from a configuration.
 *
 * @param config The configuration.
 * @param gpt The complete transformer.
 * @returns The learner's options.
 */
export function transformerLearnerOptions(
  { model, trainer, seedEverything }: TransformerRunConfig,
  gpt: CompleteGptConfig,
): TransformerLearnerOptions {
  return {
    model: gpt,
    seed: seedEverything,
    precision: trainer.precision,
    pkeep: model.params.pkeep,
    detectAnomaly: trainer.detectAnomaly,
  };
}

/**
 * Completes a configuration without its data set.
 *
 * @param loaded The configuration.
 * @param tokenizer The tokenizer of a transformer whose configuration names none; null for none.
 * @returns What a step needs to know.
 * @throws {UserError} If sizes do not fit each other, or no tokenizer is known.
 */
export function stepRunOf(
  loaded: LoadedConfig,
  tokenizer: TokenizerConfig | null = null,
): StepRun {
  const { file } = loaded;
  if (isTokenizerRun(loaded.config)) {
    return { stage: "tokenizer", config: asTokenizer(loaded).config, file };
  }
  const { config: run } = asTransformer(loaded);
  const { transformerConfig, firstStageConfig } = run.model.params;
  const { config, gpt } = completeTransformer(run, {
    tokenizer: firstStageConfig === null ? tokenizer : null,
    classNum: transformerConfig.params.classNum ?? CLASSES,
    file,
  });
  return { stage: "transformer", config, gpt, file };
}

/**
 * Makes a learner and batches of made-up data.
 *
 * @param gpu The device; a dry one to learn sizes.
 * @param run The configuration.
 * @param batchSize Images of a batch.
 * @returns The steps; dispose it.
 */
export function openTrainingStep(gpu: Gpu, run: StepRun, batchSize: number): TrainingStep {
  return run.stage === "tokenizer"
    ? openTokenizerStep(gpu, run, batchSize)
    : openTransformerStep(gpu, run, batchSize);
}

/** As many of the same batch as an optimizer step averages. */
function repeated<Batch>({ trainer }: RunConfig, batch: Batch): Batch[] {
  return Array.from({ length: trainer.accumulateGradBatches }, () => batch);
}

function openTokenizerStep(
  gpu: Gpu,
  { config, file }: StepRun & { stage: "tokenizer" },
  batchSize: number,
): TrainingStep {
  const options = tokenizerLearnerOptions(config, file);
  const learner = new TokenizerLearner(gpu, options);
  const size = imageSize(config, config.model.params);
  const shape = [batchSize, size, size, 3] as const;
  const images = new Float32Array(batchSize * size * size * 3);
  if (!gpu.isDry) { for (let i = 0; i < images.length; i++) images[i] = Math.sin(i); }
  const batches = repeated(config, { images, shape });
  const { tokenizer, discriminator, losses } = learner;
  const modules = new Map([
    ...byModule(tokenizer.namedParameters()),
    ["discriminator", [...discriminator.namedParameters()].map(([, parameter]) => parameter)],
  ]);
  if (losses.perceptual) {
    modules.set(
      "perceptual network (frozen)",
      [...losses.perceptual.namedParameters()].map(([, parameter]) => parameter),
    );
  }
  return {
    modules,
    run: (number) =>
      learner.step(batches, {
        step: options.loss.discStart + number,
        learningRate: LEARNING_RATE,
        clip: null,
      }),
    [Symbol.dispose]: () => learner[Symbol.dispose](),
  };
}

function openTransformerStep(
  gpu: Gpu,
  { config, gpt }: StepRun & { stage: "transformer" },
  batchSize: number,
): TrainingStep {
  const learner = new TransformerLearner(gpu, transformerLearnerOptions(config, gpt));
  const tokens = Uint32Array.from(
    { length: batchSize * gpt.blockSize },
    (_, i) => i % gpt.vocabSize,
  );
  const labels = Uint32Array.from({ length: batchSize }, (_, i) => i % gpt.classNum);
  const batches = repeated(config, { tokens, labels });
  return {
    modules: byModule(learner.transformer.namedParameters()),
    run: (step) =>
      learner.step(batches, { step, learningRate: LEARNING_RATE, weightDecay: 0, clip: null }),
    [Symbol.dispose]: () => learner[Symbol.dispose](),
  };
}

/** Parameters by the first part of their names; those of numbered parts together. */
function byModule(parameters: Iterable<[string, Parameter]>): Map<string, Parameter[]> {
  const modules = new Map<string, Parameter[]>();
  for (const [name, parameter] of parameters) {
    const module = name.slice(0, name.indexOf("."));
    const list = modules.get(module);
    if (list) list.push(parameter);
    else modules.set(module, [parameter]);
  }
  return modules;
}

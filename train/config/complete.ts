/**
 * Fills in what one part of a configuration implies for another, and checks what the file says twice.
 *
 * @module
 */
import {
  checkDerived,
  checkGpt,
  checkLosses,
  type CheckOptions,
  checkTokenizer,
  downsamplingFactor,
} from "./check.ts";
import { below, configError } from "./field.ts";
import type { GptConfig, TokenizerConfig, TransformerConfig } from "./model_types.ts";
import type {
  DatasetConfig,
  RunConfig,
  TokenizerRunConfig,
  TransformerRunConfig,
} from "./types.ts";

/** A transformer whose sizes are all known. */
export interface CompleteGptConfig extends GptConfig {
  /** Number of tokens. */
  readonly vocabSize: number;
  /** Tokens of an image. */
  readonly blockSize: number;
  /** Number of classes. */
  readonly classNum: number;
  /** Channels of the condition, `nEmbd`. */
  readonly condDim: number;
  /** Heads of keys and values. */
  readonly nKvHead: number;
}

/** What a transformer is made for. */
export interface TransformerContext {
  /** The tokenizer whose tokens it learns; null for the one that the configuration names. */
  readonly tokenizer: TokenizerConfig | null;
  /** Number of classes of the data set. */
  readonly classNum: number;
  /** File of the transformer's configuration, for messages. */
  readonly file: string;
}

/** A complete configuration of stage II, and its parts that were found or derived. */
export interface CompleteTransformer {
  /** The configuration without a null that something else decides. */
  readonly config: TransformerRunConfig;
  /** The transformer. */
  readonly gpt: CompleteGptConfig;
  /** The tokenizer. */
  readonly tokenizer: TokenizerConfig;
}

/** Where options stand in a configuration of stage II. */
const TRANSFORMER_PATH = "model.init_args.transformer_config.params";
const FIRST_STAGE_PATH = "model.init_args.first_stage_config.params";
const CONDITION_PATH = "model.init_args.cond_stage_config.params";

function at(options: CheckOptions, path: string): CheckOptions {
  return { ...options, place: below(options.place, path) };
}

function sizeOf(dataset: DatasetConfig): number | null {
  return "config" in dataset.params ? dataset.params.config.size : dataset.params.size;
}

/**
 * Width and height of the images of a run.
 *
 * @param config The run.
 * @param tokenizer The tokenizer it trains or uses.
 * @returns Pixels: the training set's size if it names one, the tokenizer's resolution otherwise.
 */
export function imageSize(config: RunConfig, tokenizer: TokenizerConfig): number {
  return sizeOf(config.data.params.train) ?? tokenizer.ddconfig.resolution;
}

function checkImageSizes(
  config: RunConfig,
  tokenizer: TokenizerConfig,
  options: CheckOptions,
): void {
  const factor = downsamplingFactor(tokenizer.ddconfig);
  const { train, validation, test } = config.data.params;
  const trainingSize = imageSize(config, tokenizer);
  for (const [part, dataset] of Object.entries({ train, validation, test })) {
    const size = dataset === null ? null : sizeOf(dataset);
    if (size === null) continue;
    const place = below(options.place, `data.init_args.${part}`);
    if (size % factor !== 0) {
      throw configError(
        place,
        `expected a size that is a multiple of ${factor}, as the tokenizer halves it ${
          Math.log2(factor)
        } times, found ${size}`,
      );
    }
    if (size !== trainingSize) {
      throw configError(
        place,
        `expected the size of the training images, ${trainingSize}, found ${size}`,
      );
    }
  }
}

/** Options that are read, but change nothing. */
function idleOptions(config: RunConfig): string[] {
  return config.data.params.test === null
    ? []
    : ["No use of data.test: a run is measured on its validation images"];
}

/** The images of a data set that are for validation, where it has such. */
function heldOut(train: DatasetConfig): DatasetConfig | null {
  const still = { split: "validation", horizontalFlip: false } as const;
  if (train.target === "tessera.data.OpenMoji") {
    return { target: train.target, params: { ...train.params, ...still } };
  }
  if (train.target === "tessera.data.ImageFolder") {
    return { target: train.target, params: { ...train.params, ...still, randomCrop: false } };
  }
  if (train.target === "tessera.data.Npz") {
    return { target: train.target, params: { ...train.params, ...still, randomCrop: false } };
  }
  if (train.target === "tessera.data.ImageNetTrain") {
    const config = { ...train.params.config, subset: null, randomCrop: false };
    return { target: "tessera.data.ImageNetValidation", params: { config } };
  }
  return null;
}

/**
 * Names the validation set of a run that names none.
 *
 * @param config The run.
 * @returns The run; validation is the held-out part of the training set where that has one.
 */
export function withValidation(config: RunConfig): RunConfig {
  const { data } = config;
  const validation = data.params.validation ?? heldOut(data.params.train);
  return { ...config, data: { ...data, params: { ...data.params, validation } } };
}

/** Path and resolution of an attention that no level has: the reference ignores it, and so is it here. */
function idleAttention(tokenizer: TokenizerConfig): string[] {
  const { attnResolutions, chMult, resolution } = tokenizer.ddconfig;
  const levels = new Set(chMult.map((_, level) => resolution / 2 ** level));
  return attnResolutions.filter((size) => !levels.has(size)).map((size) =>
    `No attention at resolution ${size} of ddconfig.attn_resolutions: the levels are ${
      [...levels].join(", ")
    }`
  );
}

/**
 * Checks a run of stage I.
 *
 * @param config The run.
 * @param options Place and budget.
 * @returns Warnings.
 * @throws {UserError} If its sizes do not fit each other.
 */
export function checkTokenizerRun(config: TokenizerRunConfig, options: CheckOptions): string[] {
  const idle = idleOptions(config);
  checkTokenizer(config.model.params, at(options, "model.init_args"));
  checkImageSizes(config, config.model.params, options);
  const { ddconfig, lossconfig } = config.model.params;
  if (lossconfig.target === "tessera.losses.VQLPIPSWithDiscriminator") {
    const resolution = imageSize(config, config.model.params);
    checkLosses(lossconfig.params, { ...ddconfig, resolution }, at(options, "model.init_args"));
    if (lossconfig.params.pixellossWeight !== 1) {
      idle.push("No use of lossconfig.pixelloss_weight, as in the reference");
    }
  }
  return [...idleAttention(config.model.params), ...idle];
}

/** What the tokenizer decides about the transformer; checks what the file says about it. */
function tokenSizes(
  config: TransformerRunConfig,
  tokenizer: TokenizerConfig,
  options: CheckOptions,
): { readonly vocabSize: number; readonly blockSize: number } {
  checkImageSizes(config, tokenizer, options);
  const { vocabSize, blockSize } = config.model.params.transformerConfig.params;
  const here = at(options, TRANSFORMER_PATH);
  const grid = imageSize(config, tokenizer) / downsamplingFactor(tokenizer.ddconfig);
  const codes = { value: tokenizer.nEmbed, of: "n_embed of the tokenizer" };
  const tokens = { value: grid * grid, of: `the ${grid} x ${grid} token grid of the tokenizer` };
  return {
    vocabSize: checkDerived("vocab_size", vocabSize, codes, here),
    blockSize: checkDerived("block_size", blockSize, tokens, here),
  };
}

/**
 * Checks a run of stage II as far as it is known without a trained tokenizer and a data set.
 *
 * @param config The run.
 * @param options Place and budget.
 * @returns Warnings.
 * @throws {UserError} If its sizes do not fit each other.
 */
export function checkTransformerRun(config: TransformerRunConfig, options: CheckOptions): string[] {
  const { transformerConfig, firstStageConfig } = config.model.params;
  checkGpt(transformerConfig.params, at(options, TRANSFORMER_PATH));
  if (firstStageConfig === null) return idleOptions(config);
  checkTokenizer(firstStageConfig.params, at(options, FIRST_STAGE_PATH));
  tokenSizes(config, firstStageConfig.params, options);
  return [...idleAttention(firstStageConfig.params), ...idleOptions(config)];
}

/**
 * Completes a configuration of stage II once its tokenizer and its classes are known.
 *
 * @param config The run.
 * @param context Tokenizer, number of classes, name of the file.
 * @returns The complete configuration; every size that the file leaves open is filled in.
 * @throws {UserError} If the file names another vocabulary, grid or number of classes, or no tokenizer is known.
 */
export function completeTransformer(
  config: TransformerRunConfig,
  context: TransformerContext,
): CompleteTransformer {
  const place = {
    file: context.file,
    path: "",
    ignored: new Set<string>(),
    notes: new Set<string>(),
  };
  const options: CheckOptions = { place, codebookBudgetBytes: Infinity };
  const tokenizer = context.tokenizer ?? config.model.params.firstStageConfig?.params;
  if (tokenizer === undefined) {
    throw configError(
      below(place, "model.init_args.first_stage_config"),
      "expected a tokenizer, found null and no tokenizer trained before",
    );
  }
  const { model } = config;
  const { transformerConfig, condStageConfig } = model.params;
  const { params } = transformerConfig;
  const sizes = tokenSizes(config, tokenizer, options);
  const classes = { value: context.classNum, of: "the data set's number of classes" };
  const { nClasses } = condStageConfig.params;
  checkDerived("n_classes", nClasses, classes, at(options, CONDITION_PATH));
  const gpt: CompleteGptConfig = {
    ...params,
    ...sizes,
    classNum: checkDerived("class_num", params.classNum, classes, at(options, TRANSFORMER_PATH)),
    condDim: params.nEmbd,
    nKvHead: params.nKvHead ?? params.nHead,
  };
  const completeParams: TransformerConfig = {
    ...model.params,
    transformerConfig: { ...transformerConfig, params: gpt },
    firstStageConfig: { target: "tessera.models.IBQ", params: tokenizer },
    condStageConfig: { ...condStageConfig, params: { nClasses: context.classNum } },
  };
  const complete = { ...config, model: { ...model, params: completeParams } };
  return { config: complete, gpt, tokenizer };
}

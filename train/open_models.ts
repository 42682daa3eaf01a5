/** Opens the trained models of a run. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { Transformer } from "../models/transformer.ts";
import { ModuleContext } from "../nn/module.ts";
import { type CheckpointEntry, loadCheckpoint, readJson } from "./checkpoint.ts";
import {
  asTokenizer,
  asTransformer,
  type CompleteGptConfig,
  loadConfig,
  type TokenizerConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
} from "./config/mod.ts";
import { UserError } from "./errors.ts";
import type { StageFolder } from "./run_folder.ts";
import { averageName } from "./tokenizer_learner.ts";
import { TOKENIZER_FORMAT } from "./tokenizer_trainer.ts";
import { TRANSFORMER_FORMAT } from "./transformer_trainer.ts";

/** A trained tokenizer; dispose `tokenizer`. */
export interface OpenedTokenizer {
  /** The model, with averaged weights where the run kept them. */
  readonly tokenizer: Tokenizer;
  /** Its configuration. */
  readonly config: TokenizerRunConfig;
  /** The checkpoint it came from. */
  readonly checkpoint: string;
}

/**
 * Opens the tokenizer of a run. As in the reference, the averaged weights are taken where there are any.
 *
 * @param gpu The device.
 * @param folder Stage I of the run.
 * @returns Model and configuration.
 * @throws {UserError} If there is no checkpoint, or it does not fit the configuration.
 */
export async function openTokenizer(gpu: Gpu, folder: StageFolder): Promise<OpenedTokenizer> {
  const checkpoint = await folder.newestCheckpoint();
  const { config } = asTokenizer(await loadConfig({ file: folder.configFile }));
  const { params } = config.model;
  const tokenizer = await loadTokenizer(gpu, params, checkpoint);
  return { tokenizer, config, checkpoint };
}

/**
 * Makes a tokenizer with the weights of a checkpoint, the averaged ones where its configuration has any.
 *
 * @param gpu The device.
 * @param params Its configuration.
 * @param checkpoint The checkpoint.
 * @returns The tokenizer; dispose it.
 * @throws {UserError} If the checkpoint does not fit the configuration.
 */
export async function loadTokenizer(
  gpu: Gpu,
  params: TokenizerConfig,
  checkpoint: string,
): Promise<Tokenizer> {
  const tokenizer = new Tokenizer(new ModuleContext(gpu, 0, { initialize: false }), params);
  try {
    const entries = tokenizerEntries(tokenizer, params);
    await loadCheckpoint(checkpoint, entries, { format: TOKENIZER_FORMAT, complete: false });
  } catch (error) {
    tokenizer[Symbol.dispose]();
    throw error;
  }
  return tokenizer;
}

/**
 * Lists the tensors of a checkpoint that a tokenizer which is only used takes.
 *
 * @param tokenizer The tokenizer.
 * @param params Its configuration.
 * @returns The averaged weights if the configuration has any, else the weights.
 */
export function* tokenizerEntries(
  tokenizer: Tokenizer,
  params: TokenizerConfig,
): Generator<CheckpointEntry> {
  for (const [name, parameter] of tokenizer.namedParameters()) {
    yield { name: params.useEma ? averageName(name) : name, parameter };
  }
}

/** A trained transformer; dispose `transformer`. */
export interface OpenedTransformer {
  /** The model. */
  readonly transformer: Transformer;
  /** Its configuration. */
  readonly config: TransformerRunConfig;
  /** The checkpoint it came from. */
  readonly checkpoint: string;
  /** Names of the classes it was trained on, in the order of their numbers. */
  readonly classNames: readonly string[];
}

/**
 * Opens the transformer of a run.
 *
 * @param gpu The device.
 * @param folder Stage II of the run.
 * @param options `precision`: type in which its matrices are kept, default f32; f16 is for inference.
 * @returns Model and configuration.
 * @throws {UserError} If there is no checkpoint, or it does not fit the configuration.
 */
export async function openTransformer(
  gpu: Gpu,
  folder: StageFolder,
  options: { precision?: "f32" | "f16" } = {},
): Promise<OpenedTransformer> {
  const checkpoint = await folder.newestCheckpoint();
  const { config } = asTransformer(await loadConfig({ file: folder.configFile }));
  const context = new ModuleContext(gpu, 0, {
    initialize: false,
    matrices: options.precision ?? "f32",
  });
  const transformer = new Transformer(context, gptOf(config, folder));
  try {
    const entries: CheckpointEntry[] = [];
    for (const [name, parameter] of transformer.namedParameters("transformer.")) {
      entries.push({ name, parameter });
    }
    const metadata = await loadCheckpoint(checkpoint, entries, {
      format: TRANSFORMER_FORMAT,
      complete: false,
    });
    const classNames = classNamesOf(readJson(metadata, "class_names", checkpoint), checkpoint);
    return { transformer, config, checkpoint, classNames };
  } catch (error) {
    transformer[Symbol.dispose]();
    throw error;
  }
}

/** The configuration that a run keeps has every size filled in. */
function gptOf(config: TransformerRunConfig, folder: StageFolder): CompleteGptConfig {
  const { params } = config.model.params.transformerConfig;
  const { vocabSize, blockSize, classNum, nHead, nKvHead, nEmbd } = params;
  if (vocabSize === null || blockSize === null || classNum === null) {
    throw new UserError(
      `Cannot open ${folder.configFile}: expected vocab_size, block_size and class_num, found null`,
    );
  }
  return {
    ...params,
    vocabSize,
    blockSize,
    classNum,
    nKvHead: nKvHead ?? nHead,
    condDim: nEmbd,
  };
}

function classNamesOf(names: unknown, checkpoint: string): string[] {
  if (Array.isArray(names)) return names.map(String);
  throw new UserError(`Cannot load ${checkpoint}: expected a list as class_names, found ${names}`);
}

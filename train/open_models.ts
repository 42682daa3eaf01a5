/** Opens trained models. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { Transformer } from "../models/transformer.ts";
import { ModuleContext } from "../nn/module.ts";
import {
  checkCheckpoint,
  type CheckpointEntry,
  type CheckpointMetadata,
  loadCheckpoint,
  type LoadCheckpointOptions,
  readJson,
} from "./checkpoint.ts";
import type { TokenizerConfig, TokenizerRunConfig, TransformerRunConfig } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { openTensors } from "./files/open_tensors.ts";
import type { TensorFile } from "./files/tensor_file.ts";
import {
  tokenizerOfStage,
  type TokenizerSource,
  transformerOfStage,
  type TransformerSource,
} from "./model_sources.ts";
import { StageFolder } from "./run_folder.ts";
import { transformerEntries } from "./start_weights.ts";
import { averageName, AVERAGES } from "./tokenizer_learner.ts";
import { TOKENIZER_FORMAT } from "./tokenizer_trainer.ts";
import { TRANSFORMER_FORMAT } from "./transformer_trainer.ts";

/** A trained tokenizer; dispose `tokenizer`. */
export interface OpenedTokenizer {
  /** The model, with averaged weights where the checkpoint has them and the configuration asks for them. */
  readonly tokenizer: Tokenizer;
  /** Its sizes. */
  readonly params: TokenizerConfig;
  /** Its run's configuration; null where a configuration of stage II describes it. */
  readonly config: TokenizerRunConfig | null;
  /** The checkpoint it came from. */
  readonly checkpoint: string;
}

/** How models are opened. */
export interface OpenOptions {
  /** Gets one line about what was loaded. */
  readonly say?: (line: string) => void;
}

/**
 * Opens a tokenizer. As in the reference, the averaged weights are taken where there are any.
 *
 * @param gpu The device.
 * @param from Stage I of a run, or a configuration with a checkpoint.
 * @param options Where the report goes.
 * @returns Model and configuration.
 * @throws {UserError} If there is no checkpoint, or it does not fit the configuration.
 */
export async function openTokenizer(
  gpu: Gpu,
  from: StageFolder | TokenizerSource,
  options: OpenOptions = {},
): Promise<OpenedTokenizer> {
  const source = from instanceof StageFolder ? await tokenizerOfStage(from) : from;
  const { params, config, checkpoint, partial } = source;
  using file = await openTensors(checkpoint);
  const tokenizer = new Tokenizer(new ModuleContext(gpu, 0, { initialize: partial }), params);
  try {
    const { entries, ...reading } = readingOf(file, tokenizer, source);
    await loadCheckpoint(file, entries, { ...reading, ...options });
  } catch (error) {
    tokenizer[Symbol.dispose]();
    throw error;
  }
  return { tokenizer, params, config, checkpoint };
}

/**
 * Compares a tokenizer's checkpoint with its configuration; nothing is loaded.
 *
 * @param source The configuration with a checkpoint.
 * @throws {UserError} If there is no checkpoint, or it does not fit the configuration.
 */
export async function checkTokenizer(source: TokenizerSource): Promise<void> {
  using file = await openTensors(source.checkpoint);
  const tokenizer = new Tokenizer(ModuleContext.outline(), source.params);
  const { entries, ...reading } = readingOf(file, tokenizer, source);
  checkCheckpoint(file, entries, reading);
}

/** What is read of a tokenizer's checkpoint, and how. */
function readingOf(
  file: TensorFile,
  tokenizer: Tokenizer,
  { params, partial }: Pick<TokenizerSource, "params" | "partial">,
): LoadCheckpointOptions & { entries: Iterable<CheckpointEntry> } {
  const averaged = params.useEma && hasAverages(file);
  return {
    entries: tokenizerEntries(tokenizer, averaged),
    format: TOKENIZER_FORMAT,
    complete: false,
    partial,
    known: new Map(tokenizer.namedParameters()).keys(),
    weights: averaged ? "averaged tensors" : "tensors",
  };
}

/**
 * Lists the tensors of a checkpoint that a tokenizer which is only used takes.
 *
 * @param tokenizer The tokenizer.
 * @param averaged Whether these are averages.
 * @returns Its weights by their names in the checkpoint.
 */
export function* tokenizerEntries(
  tokenizer: Tokenizer,
  averaged: boolean,
): Generator<CheckpointEntry> {
  for (const [name, parameter] of tokenizer.namedParameters()) {
    yield { name: averaged ? averageName(name) : name, parameter };
  }
}

function hasAverages({ entries }: TensorFile): boolean {
  return entries.keys().some((name) => name.startsWith(AVERAGES));
}

/** A trained transformer; dispose `transformer`. */
export interface OpenedTransformer {
  /** The model. */
  readonly transformer: Transformer;
  /** Its configuration. */
  readonly config: TransformerRunConfig;
  /** The checkpoint it came from. */
  readonly checkpoint: string;
  /** Names of the classes it was trained on, in the order of their numbers; these numbers where the checkpoint has no names. */
  readonly classNames: readonly string[];
}

/**
 * Opens a transformer.
 *
 * @param gpu The device.
 * @param from Stage II of a run, or a configuration with a checkpoint.
 * @param options `precision`: type in which its matrices are kept, default f32; f16 is for inference. Where the report goes.
 * @returns Model and configuration.
 * @throws {UserError} If there is no checkpoint, or it does not fit the configuration.
 */
export async function openTransformer(
  gpu: Gpu,
  from: StageFolder | TransformerSource,
  options: OpenOptions & { precision?: "f32" | "f16" } = {},
): Promise<OpenedTransformer> {
  const source = from instanceof StageFolder ? await transformerOfStage(from) : from;
  const { config, gpt, checkpoint, partial } = source;
  const { precision = "f32", ...report } = options;
  using file = await openTensors(checkpoint);
  const context = new ModuleContext(gpu, 0, { initialize: partial, matrices: precision });
  const transformer = new Transformer(context, gpt);
  try {
    const metadata = await loadCheckpoint(file, transformerEntries(transformer), {
      format: TRANSFORMER_FORMAT,
      complete: false,
      partial,
      ...report,
    });
    const classNames = classNamesOf(metadata, { checkpoint, count: gpt.classNum });
    return { transformer, config, checkpoint, classNames };
  } catch (error) {
    transformer[Symbol.dispose]();
    throw error;
  }
}

function classNamesOf(
  metadata: CheckpointMetadata,
  { checkpoint, count }: { checkpoint: string; count: number },
): string[] {
  if (metadata.format === undefined) return Array.from({ length: count }, (_, i) => String(i));
  const names = readJson(metadata, "class_names", checkpoint);
  if (Array.isArray(names)) return names.map(String);
  throw new UserError(`Cannot load ${checkpoint}: expected a list as class_names, found ${names}`);
}

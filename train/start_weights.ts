/** Weights from other files that a stage starts with. @module */

import type { Transformer } from "../models/transformer.ts";
import {
  checkCheckpoint,
  type CheckpointEntry,
  loadCheckpoint,
  type LoadCheckpointOptions,
} from "./checkpoint.ts";
import type { TransformerRunConfig } from "./config/mod.ts";
import { openTensors } from "./files/open_tensors.ts";
import { TRANSFORMER } from "./stage_optimizers.ts";
import type { TokenizerLearner } from "./tokenizer_learner.ts";
import { TOKENIZER_FORMAT } from "./tokenizer_trainer.ts";
import type { TransformerLearner } from "./transformer_learner.ts";
import { TRANSFORMER_FORMAT } from "./transformer_trainer.ts";

/**
 * Takes the tokenizer's weights from a checkpoint of another run; its averages start from them as well.
 *
 * @param learner What is filled.
 * @param path The checkpoint, of any format.
 * @param options Whether it may lack weights, and where the report goes.
 * @throws {UserError} If it is not a checkpoint of such a tokenizer.
 */
export async function startTokenizer(
  learner: TokenizerLearner,
  path: string,
  options: Pick<LoadCheckpointOptions, "partial" | "say"> = {},
): Promise<void> {
  const entries = startingWeights(learner);
  await loadCheckpoint(path, entries, { ...options, format: TOKENIZER_FORMAT, complete: false });
}

function* startingWeights({ tokenizer, averages }: TokenizerLearner): Generator<CheckpointEntry> {
  const weights = new Map(tokenizer.namedParameters());
  for (const [name, parameter] of weights) yield { name, parameter };
  for (const [name, parameter] of averages?.averages() ?? []) {
    const layout = weights.get(name);
    if (layout) yield { name, parameter, layout };
  }
}

/** What a new transformer takes of another file. */
interface TransformerStart extends LoadCheckpointOptions {
  readonly path: string;
  readonly entries: Iterable<CheckpointEntry>;
}

/** What the configuration says a new transformer starts with: the weights of another one, or a codebook as token embedding. */
function transformerStart(
  transformer: Transformer,
  { config, tokenizerCheckpoint }: {
    config: TransformerRunConfig;
    tokenizerCheckpoint: string | undefined;
  },
): TransformerStart | undefined {
  const { ckptPath, ckptPartial: partial, transformerConfig } = config.model.params;
  if (ckptPath !== null) {
    const entries = transformerEntries(transformer);
    return { path: ckptPath, entries, format: TRANSFORMER_FORMAT, complete: false, partial };
  }
  const { usePretrainedCodebook, codebookCkptPath } = transformerConfig.params;
  const path = codebookCkptPath ?? tokenizerCheckpoint;
  if (!usePretrainedCodebook || path === undefined) return undefined;
  const entries = [{ name: "quantize.embedding.weight", parameter: transformer.tokenTable }];
  return { path, entries, format: TOKENIZER_FORMAT, complete: false };
}

/**
 * Loads what the configuration says a new transformer starts with.
 *
 * @param learner What is filled.
 * @param options The configuration, the checkpoint whose codebook is taken if it names none, and where the report goes.
 * @throws {UserError} If a file is not what it should be.
 */
export async function startTransformer(
  { transformer }: TransformerLearner,
  options: {
    config: TransformerRunConfig;
    tokenizerCheckpoint: string;
    say?: (line: string) => void;
  },
): Promise<void> {
  const start = transformerStart(transformer, options);
  if (!start) return;
  const { path, entries, ...reading } = start;
  await loadCheckpoint(path, entries, {
    ...reading,
    ...(options.say && { say: options.say }),
  });
}

/**
 * Compares what a new transformer would start with; nothing is loaded.
 *
 * @param transformer The transformer, or its outline.
 * @param options The configuration, and the checkpoint whose codebook is taken if it names none, where that is known.
 * @throws {UserError} If a file is not what it should be.
 */
export async function checkTransformerStart(
  transformer: Transformer,
  options: { config: TransformerRunConfig; tokenizerCheckpoint: string | undefined },
): Promise<void> {
  const start = transformerStart(transformer, options);
  if (!start) return;
  const { path, entries, ...reading } = start;
  using file = await openTensors(path);
  checkCheckpoint(file, entries, reading);
}

/**
 * Lists the weights of a transformer as checkpoints have them.
 *
 * @param transformer The transformer, or its outline.
 * @returns Its weights by their names in the checkpoint.
 */
export function* transformerEntries(transformer: Transformer): Generator<CheckpointEntry> {
  for (const [name, parameter] of transformer.namedParameters(TRANSFORMER)) {
    yield { name, parameter };
  }
}

/** Weights from other files that a stage starts with. @module */

import { type CheckpointEntry, loadCheckpoint, type LoadCheckpointOptions } from "./checkpoint.ts";
import type { TransformerRunConfig } from "./config/mod.ts";
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

/**
 * Loads what the configuration says a new transformer starts with: the weights of another one, or a codebook as token embedding.
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
  const { say = () => {} } = options;
  const { ckptPath, ckptPartial: partial, transformerConfig } = options.config.model.params;
  const { usePretrainedCodebook, codebookCkptPath } = transformerConfig.params;
  if (ckptPath !== null) {
    const entries: CheckpointEntry[] = [];
    for (const [name, parameter] of transformer.namedParameters(TRANSFORMER)) {
      entries.push({ name, parameter });
    }
    await loadCheckpoint(ckptPath, entries, {
      format: TRANSFORMER_FORMAT,
      complete: false,
      partial,
      say,
    });
  } else if (usePretrainedCodebook) {
    await loadCheckpoint(
      codebookCkptPath ?? options.tokenizerCheckpoint,
      [{ name: "quantize.embedding.weight", parameter: transformer.tokenTable }],
      { format: TOKENIZER_FORMAT, complete: false, say },
    );
  }
}

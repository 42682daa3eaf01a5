/** Weights from other files that a stage starts with. @module */

import { loadParameters } from "../models/weights.ts";
import { type CheckpointEntry, loadCheckpoint, type LoadCheckpointOptions } from "./checkpoint.ts";
import type { TokenizerLossConfig, TransformerRunConfig } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { openTensors } from "./files/open_tensors.ts";
import { readFloat32 } from "./files/tensor_file.ts";
import type { TokenizerLearner } from "./tokenizer_learner.ts";
import { problemsOf, someOf } from "./load_report.ts";
import { TOKENIZER_FORMAT } from "./tokenizer_trainer.ts";
import type { TransformerLearner } from "./transformer_learner.ts";
import { TRANSFORMER_FORMAT } from "./transformer_trainer.ts";

/**
 * Loads the weights of the perceptual network, if the configuration names any.
 *
 * @param learner Owns the network.
 * @param loss The configuration of the losses.
 * @returns One line for log and checkpoints: where the weights are from, or that they are random.
 * @throws {UserError} If the file does not hold the network's weights.
 */
export async function preparePerceptual(
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
  using file = await openTensors(vggWeights);
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, { shape }] of file.entries) {
    tensors.set(name, { shape, data: await readFloat32(file, name) });
  }
  const problems = problemsOf(loadParameters(perceptual, tensors));
  if (problems.length > 0) {
    throw new UserError(
      `Cannot load ${vggWeights}: expected the tensors of LPIPS with VGG16 of ${
        vggWidth.join("-")
      } channels, found that ${someOf(problems)}`,
    );
  }
  return `perceptual loss: LPIPS with the weights of ${vggWeights}`;
}

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
    for (const [name, parameter] of transformer.namedParameters("transformer.")) {
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

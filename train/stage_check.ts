/** Finds before stage I what would end stage II when its turn comes. @module */

import { Transformer } from "../models/transformer.ts";
import { ModuleContext } from "../nn/module.ts";
import { checkCheckpoint } from "./checkpoint.ts";
import {
  completeTransformer,
  imageSize,
  type LoadedConfig,
  type TokenizerConfig,
  type TransformerRunConfig,
} from "./config/mod.ts";
import { openSplit } from "./data_module.ts";
import { UserError } from "./errors.ts";
import { tokenizerOfStage } from "./model_sources.ts";
import { checkTokenizer } from "./open_models.ts";
import { openTraining } from "./reference_training.ts";
import type { RunFolder } from "./run_folder.ts";
import { transformerOptimizers } from "./stage_optimizers.ts";
import { checkTransformerStart, transformerEntries } from "./start_weights.ts";
import { assertBatch } from "./tokens.ts";
import { TRANSFORMER_FORMAT } from "./transformer_trainer.ts";

/**
 * Compares all that stage II starts with: its tokenizer, its data, its checkpoints. Nothing is computed.
 *
 * @param loaded The configuration of stage II.
 * @param context The run, and the tokenizer that stage I trains in it, if it does.
 * @throws {UserError} If a file is missing or does not fit.
 */
export async function checkTransformerStage(
  loaded: LoadedConfig<TransformerRunConfig>,
  context: { readonly run: RunFolder; readonly tokenizer: TokenizerConfig | undefined },
): Promise<void> {
  const { run } = context;
  const { config, file } = loaded;
  // What has begun goes on from its own checkpoint.
  if ((await run.stage("transformer").checkpoints()).length > 0) return;
  const { tokenizer, checkpoint } = await firstStage(loaded, context);
  const resolution = imageSize(config, tokenizer);
  // The stage repeats the warnings.
  const data = { resolution, warn: () => {} };
  using train = await openSplit(config.data.params, { ...data, split: "train" });
  using _validation = await openSplit(config.data.params, { ...data, split: "validation" });
  const { batchSize } = config.data.params;
  if (batchSize !== "auto") assertBatch(train.length, batchSize);
  const classNum = train.classNames.length;
  const { gpt } = completeTransformer(config, { tokenizer, classNum, file });
  const transformer = new Transformer(ModuleContext.outline(), gpt);
  if (config.ckptPath === null) {
    return await checkTransformerStart(transformer, { config, tokenizerCheckpoint: checkpoint });
  }
  const optimizers = transformerOptimizers(transformer);
  using opened = await openTraining(config.ckptPath, { format: TRANSFORMER_FORMAT, optimizers });
  const options = { format: TRANSFORMER_FORMAT, complete: false };
  checkCheckpoint(opened.file, transformerEntries(transformer), options);
}

/** The tokenizer that stage II will use: the run's, the one that stage I trains, or the one whose checkpoint is named. */
async function firstStage(
  loaded: LoadedConfig<TransformerRunConfig>,
  { run, tokenizer }: { run: RunFolder; tokenizer: TokenizerConfig | undefined },
): Promise<{ tokenizer: TokenizerConfig; checkpoint?: string }> {
  const folder = run.stage("tokenizer");
  if (tokenizer) {
    assertOwnFirstStage(loaded, tokenizer);
    return { tokenizer };
  }
  if ((await folder.checkpoints()).length > 0) {
    const { params, checkpoint } = await tokenizerOfStage(folder);
    assertOwnFirstStage(loaded, params);
    return { tokenizer: params, checkpoint };
  }
  const params = loaded.config.model.params.firstStageConfig?.params;
  if (!params || params.ckptPath === null) {
    throw new UserError(
      `Cannot train with config ${loaded.file}: expected a trained tokenizer in ${folder.path}, or its checkpoint as first_stage_config.ckpt_path, found none`,
    );
  }
  const { ckptPath: checkpoint, ckptPartial: partial } = params;
  await checkTokenizer({ params, config: null, checkpoint, partial });
  return { tokenizer: params, checkpoint };
}

/**
 * Refuses a configuration of stage II that describes another tokenizer than the run's.
 *
 * @param loaded The configuration.
 * @param tokenizer The run's tokenizer.
 * @throws {UserError} If it describes another one.
 */
export function assertOwnFirstStage(
  { config, file }: LoadedConfig<TransformerRunConfig>,
  tokenizer: TokenizerConfig,
): void {
  const described = config.model.params.firstStageConfig?.params;
  if (!described) return;
  // How the backward pass spares memory says nothing about the tokens.
  const sizes = ({ ddconfig, nEmbed, embedDim }: TokenizerConfig): string =>
    JSON.stringify({ ...ddconfig, checkpointLevels: [], nEmbed, embedDim });
  if (described.ckptPath !== tokenizer.ckptPath || sizes(described) !== sizes(tokenizer)) {
    throw new UserError(
      `Cannot train with config ${file}: expected null as first_stage_config or the configuration of the run's own tokenizer, whose tokens are learned, found another one`,
    );
  }
}

/** The tokenizer of stage II where the configuration names its checkpoint and no stage I was trained in the run. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { saveCheckpoint } from "./checkpoint.ts";
import {
  configToYaml,
  type LoadedConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
} from "./config/mod.ts";
import { writeFileAtomically } from "./files/atomic.ts";
import { openTokenizer, tokenizerEntries } from "./open_models.ts";
import type { StageFolder } from "./run_folder.ts";
import { TOKENIZER_FORMAT } from "./tokenizer_trainer.ts";

/**
 * Puts the tokenizer of `first_stage_config.params.ckpt_path` into a run that has none, so that the run is complete: sampling and
 * evaluation find the tokenizer there, whatever becomes of the file.
 *
 * @param gpu The device.
 * @param loaded The configuration of stage II.
 * @param to Stage I of the run, and where the report of the load goes.
 * @returns What was done, for whoever watches; undefined if there was nothing to do.
 * @throws {UserError} If the checkpoint cannot be read or is of another tokenizer.
 */
export async function adoptFirstStage(
  gpu: Gpu,
  loaded: LoadedConfig<TransformerRunConfig>,
  to: { readonly folder: StageFolder; readonly say: (line: string) => void },
): Promise<string | undefined> {
  const { folder } = to;
  const { firstStageConfig } = loaded.config.model.params;
  const path = firstStageConfig?.params.ckptPath ?? null;
  if (!firstStageConfig || path === null || (await folder.checkpoints()).length > 0) {
    return undefined;
  }
  // Its stage tells a resumed run that there is nothing to train.
  const params = { ...firstStageConfig.params, stage: "transformer" } as const;
  const config: TokenizerRunConfig = {
    ...loaded.config,
    model: { ...firstStageConfig, params },
    ckptPath: null,
  };
  const configText = configToYaml(config);
  const source = { params, config, checkpoint: path, partial: params.ckptPartial };
  const opened = await openTokenizer(gpu, source, { say: to.say });
  using tokenizer = opened.tokenizer;
  await folder.create();
  await writeFileAtomically(folder.configFile, configText);
  await saveCheckpoint(folder.checkpointFile(0), tokenizerEntries(tokenizer, params.useEma), {
    format: TOKENIZER_FORMAT,
    step: "0",
    source: path,
    config: configText,
  });
  return `tokenizer: taken from ${path}`;
}

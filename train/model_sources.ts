/** Where trained models come from: a run, or a configuration and a checkpoint of any format. @module */

import { readCheckpointMetadata, readJson } from "./checkpoint.ts";
import {
  asTokenizer,
  asTransformer,
  type CompleteGptConfig,
  completeTransformer,
  isTransformerRun,
  loadConfig,
  type LoadedConfig,
  parseConfig,
  resolveConfig,
  type TokenizerConfig,
  type TokenizerRunConfig,
  type TransformerRunConfig,
} from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { RunFolder, type StageFolder, type StageName } from "./run_folder.ts";

/** What the command line says about models. */
export interface ModelSelection {
  /** Where runs are kept. */
  readonly runs: string;
  /** Folder of `--run`. */
  readonly run?: string | undefined;
  /** File of `--config`. */
  readonly config?: string | undefined;
  /** File of `--ckpt`. */
  readonly ckpt?: string | undefined;
  /** File of `--tokenizer-config`. */
  readonly tokenizerConfig?: string | undefined;
  /** File of `--tokenizer-ckpt`. */
  readonly tokenizerCkpt?: string | undefined;
  /** Whether checkpoints may lack weights. */
  readonly partial?: boolean;
}

/** A tokenizer that can be opened. */
export interface TokenizerSource {
  /** Sizes. */
  readonly params: TokenizerConfig;
  /** The run's configuration; null where a configuration of stage II describes the tokenizer. */
  readonly config: TokenizerRunConfig | null;
  /** Its weights. */
  readonly checkpoint: string;
  /** Whether the checkpoint may lack some. */
  readonly partial: boolean;
}

/** A transformer that can be opened. */
export interface TransformerSource {
  /** The run's configuration. */
  readonly config: TransformerRunConfig;
  /** Sizes. */
  readonly gpt: CompleteGptConfig;
  /** Its weights. */
  readonly checkpoint: string;
  /** Whether the checkpoint may lack some. */
  readonly partial: boolean;
}

/** Models of a command, and where its results belong. */
export interface SelectedModels {
  /** Decodes. */
  readonly tokenizer: TokenizerSource;
  /** Predicts tokens. */
  readonly transformer: TransformerSource;
  /** The run, or null. */
  readonly run: RunFolder | null;
}

/**
 * Finds the tokenizer of a run's stage.
 *
 * @param folder Stage I.
 * @returns Its newest checkpoint and its configuration.
 * @throws {UserError} If there is none.
 */
export async function tokenizerOfStage(folder: StageFolder): Promise<TokenizerSource> {
  const checkpoint = await folder.newestCheckpoint();
  const { config } = asTokenizer(await loadConfig({ file: folder.configFile }));
  return { params: config.model.params, config, checkpoint, partial: false };
}

/**
 * Finds the transformer of a run's stage.
 *
 * @param folder Stage II.
 * @returns Its newest checkpoint and its configuration, in which every size is filled in.
 * @throws {UserError} If there is none.
 */
export async function transformerOfStage(folder: StageFolder): Promise<TransformerSource> {
  const checkpoint = await folder.newestCheckpoint();
  const { config } = asTransformer(await loadConfig({ file: folder.configFile }));
  const { params } = config.model.params.transformerConfig;
  const { vocabSize, blockSize, classNum, nHead, nKvHead, nEmbd } = params;
  if (vocabSize === null || blockSize === null || classNum === null) {
    throw new UserError(
      `Cannot open ${folder.configFile}: expected vocab_size, block_size and class_num, found null`,
    );
  }
  const sizes = { vocabSize, blockSize, classNum };
  const gpt = { ...params, ...sizes, nKvHead: nKvHead ?? nHead, condDim: nEmbd };
  return { config, gpt, checkpoint, partial: false };
}

/**
 * Takes the tokenizer that a configuration of stage II names with its weights.
 *
 * @param config The configuration.
 * @param checkpoint Its weights, if not those of `first_stage_config.params.ckpt_path`.
 * @returns The tokenizer, or undefined if the configuration describes none or no weights are known.
 */
function firstStageOf(
  config: TransformerRunConfig,
  checkpoint?: string,
): TokenizerSource | undefined {
  const params = config.model.params.firstStageConfig?.params;
  const path = checkpoint ?? params?.ckptPath;
  if (!params || !path) return undefined;
  return { params, config: null, checkpoint: path, partial: params.ckptPartial };
}

/**
 * Finds the tokenizer that the command line means: of `--config` and `--ckpt`, or of a run.
 *
 * @param selection The command line.
 * @returns The tokenizer, and its run if it is one's.
 * @throws {UserError} If there is none.
 */
export async function selectTokenizer(
  selection: ModelSelection,
): Promise<{ source: TokenizerSource; run: RunFolder | null }> {
  const { ckpt, partial = false } = selection;
  const named = await namedConfig(selection, "tokenizer");
  if (named) {
    if (isTransformerRun(named.config)) {
      const source = firstStageOf(named.config, ckpt);
      if (source) return { source: { ...source, partial: source.partial || partial }, run: null };
    }
    const { config } = asTokenizer(named);
    return { source: described(config, { file: named.file, ckpt, partial }), run: null };
  }
  const run = await openRun(selection, "tokenizer");
  const source = await tokenizerOfStage(run.stage("tokenizer"));
  return { source: { ...source, checkpoint: ckpt ?? source.checkpoint, partial }, run };
}

/**
 * Finds the models of stage II that the command line means, with their tokenizer.
 *
 * @param selection The command line.
 * @returns Both, and their run if they are one's.
 * @throws {UserError} If there are none, or the sizes of the two do not fit.
 */
export async function selectModels(selection: ModelSelection): Promise<SelectedModels> {
  const { ckpt, partial = false } = selection;
  const named = await namedConfig(selection, "transformer");
  if (!named) {
    const run = await openRun(selection, "transformer");
    const transformer = await transformerOfStage(run.stage("transformer"));
    const own = await tokenizerOfStage(run.stage("tokenizer"));
    const tokenizer = await otherTokenizer(selection) ??
      { ...own, checkpoint: selection.tokenizerCkpt ?? own.checkpoint, partial };
    const checkpoint = ckpt ?? transformer.checkpoint;
    return { tokenizer, transformer: { ...transformer, checkpoint, partial }, run };
  }
  const loaded = asTransformer(named);
  const { ckptPath, ckptPartial } = loaded.config.model.params;
  const checkpoint = ckpt ?? ckptPath;
  if (checkpoint === null) throw noCheckpoint(named.file, "--ckpt");
  const tokenizer = await otherTokenizer(selection) ??
    firstStageOf(loaded.config, selection.tokenizerCkpt);
  if (!tokenizer) throw noCheckpoint(`first_stage_config of ${named.file}`, "--tokenizer-ckpt");
  const { config, gpt } = completeTransformer(loaded.config, {
    tokenizer: tokenizer.params,
    classNum: await classCount(loaded.config, checkpoint),
    file: named.file,
  });
  return {
    tokenizer: { ...tokenizer, partial: tokenizer.partial || partial },
    transformer: { config, gpt, checkpoint, partial: partial || ckptPartial },
    run: null,
  };
}

/** The configuration of `--config`, or of a checkpoint of this program that is named without one; undefined for a run's own. */
async function namedConfig(
  { config, ckpt, run }: ModelSelection,
  stage: StageName,
): Promise<LoadedConfig | undefined> {
  if (config !== undefined) return await loadConfig({ file: config });
  if (ckpt === undefined || run !== undefined) return undefined;
  const { config: text } = await readCheckpointMetadata(ckpt);
  if (text !== undefined) return resolveConfig(parseConfig(text, ckpt));
  throw new UserError(
    `Cannot open ${ckpt}: expected the ${stage}'s configuration beside it, found none; name it with --config FILE`,
  );
}

/** The tokenizer of `--tokenizer-config` and `--tokenizer-ckpt`, or one whose checkpoint has its configuration. */
async function otherTokenizer(selection: ModelSelection): Promise<TokenizerSource | undefined> {
  const { tokenizerConfig, tokenizerCkpt: ckpt, partial = false } = selection;
  if (tokenizerConfig !== undefined) {
    const loaded = asTokenizer(await loadConfig({ file: tokenizerConfig }));
    return described(loaded.config, { file: loaded.file, ckpt, partial });
  }
  if (ckpt === undefined) return undefined;
  const { config: text } = await readCheckpointMetadata(ckpt);
  if (text === undefined) return undefined;
  const { config } = asTokenizer(resolveConfig(parseConfig(text, ckpt)));
  return described(config, { file: ckpt, ckpt, partial });
}

function described(
  config: TokenizerRunConfig,
  options: { file: string; ckpt: string | undefined; partial: boolean },
): TokenizerSource {
  const { params } = config.model;
  const checkpoint = options.ckpt ?? params.ckptPath;
  if (checkpoint === null) throw noCheckpoint(options.file, "--ckpt");
  return { params, config, checkpoint, partial: options.partial || params.ckptPartial };
}

async function openRun({ runs, run }: ModelSelection, needs: StageName): Promise<RunFolder> {
  return await RunFolder.open(runs, { needs, ...(run !== undefined && { path: run }) });
}

/** Classes that a configuration of stage II or its checkpoint counts. */
async function classCount(config: TransformerRunConfig, checkpoint: string): Promise<number> {
  const { transformerConfig, condStageConfig } = config.model.params;
  const count = transformerConfig.params.classNum ?? condStageConfig.params.nClasses;
  if (count !== null) return count;
  const names = readJson(await readCheckpointMetadata(checkpoint), "class_names", checkpoint);
  return Array.isArray(names) ? names.length : 0;
}

function noCheckpoint(file: string, option: string): UserError {
  return new UserError(
    `Cannot open the model of ${file}: expected a checkpoint as ckpt_path or ${option} FILE, found none`,
  );
}

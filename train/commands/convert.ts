/** `deno task convert`: weights of runs, PyTorch checkpoints and safetensors files, from one to the other. @module */

import { basename, join } from "node:path";
import { assertComplete, type CheckpointMetadata } from "../checkpoint.ts";
import {
  completeTransformer,
  configToYaml,
  isTokenizerRun,
  isTransformerRun,
  loadConfig,
  type LoadedConfig,
  parseConfig,
  resolveConfig,
} from "../config/mod.ts";
import {
  allTensors,
  compareWithModel,
  type ModelSizes,
  referenceTensors,
  runTensors,
} from "../convert_weights.ts";
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "../files/atomic.ts";
import { openTensors } from "../files/open_tensors.ts";
import { writeSafetensors } from "../files/safetensors.ts";
import type { TensorFile } from "../files/tensor_file.ts";
import { writeTorch } from "../files/torch_writer.ts";
import { lightningEntries, type WrittenTraining } from "../lightning_entries.ts";
import { describeLoad } from "../load_report.ts";
import { printResult, type Reporter } from "../log.ts";
import { RunFolder, STAGE_NAMES, StageFolder, type StageName } from "../run_folder.ts";
import { TOKENIZER_FORMAT } from "../tokenizer_trainer.ts";
import { TRANSFORMER_FORMAT } from "../transformer_trainer.ts";

/** What the command line says. */
export interface ConvertCommand {
  /** A run, a stage of one, or weights of any format. */
  readonly input: string;
  /** A file, whose name says the format, or the folder of a run. */
  readonly output: string;
  /** Which stage of a run. */
  readonly stage: StageName | undefined;
  /** Configuration for a run. */
  readonly config: string | undefined;
  /** Whether weights for a run may lack tensors. */
  readonly partial: boolean;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/**
 * Converts.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If the input holds no weights, does not fit the configuration, or the output cannot be written.
 */
export async function runConvert(command: ConvertCommand): Promise<number> {
  const { output, reporter } = command;
  const input = await checkpointOf(command);
  using file = await openTensors(input);
  const metadata = Object.fromEntries(file.metadata);
  let path = output;
  let bytes: number;
  if (/\.(ckpt|pth|pt)$/i.test(output)) {
    const entries = trainingEntries(file, metadata);
    reporter.info(
      entries
        ? "with the optimizers' state: a training of the reference can go on with it"
        : "weights alone: there is no state of an optimizer, or of a schedule that Lightning could go on with",
    );
    bytes = await writeTorch(output, referenceTensors(file), {
      entries: entries ?? counters(metadata),
      metadata,
    });
  } else if (/\.safetensors$/i.test(output)) {
    bytes = await writeSafetensors(output, allTensors(file), { metadata });
  } else {
    path = await writeRun(command, file);
    bytes = (await Deno.stat(path)).size;
  }
  reporter.info(`${input}: ${file.entries.size} tensors; ${path}: ${bytes} bytes`);
  printResult(path);
  return 0;
}

/** The state of a run's training; undefined for weights. */
function trainingEntries(
  file: TensorFile,
  { config, class_names: classNames }: CheckpointMetadata,
): ReturnType<typeof lightningEntries> {
  if (config === undefined) return undefined;
  const { training } = describe(resolveConfig(parseConfig(config, file.name)), classNames);
  return lightningEntries(file, training);
}

/** Where a training was that nothing else is known of. */
function counters({ step = "0", epoch = "0" }: CheckpointMetadata): ReadonlyMap<string, number> {
  return new Map([["epoch", Number(epoch)], ["global_step", Number(step)]]);
}

/** The newest checkpoint of a run or of a stage; anything else is a file of weights. */
async function checkpointOf({ input, stage }: ConvertCommand): Promise<string> {
  const folder = new StageFolder(input);
  if ((await folder.checkpoints()).length > 0) return await folder.newestCheckpoint();
  const run = new RunFolder(input);
  const found: StageName[] = [];
  for (const name of STAGE_NAMES) {
    if ((await run.stage(name).checkpoints()).length > 0) found.push(name);
  }
  if (found.length === 0) return input;
  const wanted = stage ?? found[0]!;
  if (stage === undefined && found.length > 1) {
    throw new UserError(
      `Cannot convert ${input}: expected --stage ${
        found.join(" or --stage ")
      }, as the run has both, found none`,
    );
  }
  return await run.stage(wanted).newestCheckpoint();
}

/** Writes weights as the checkpoint of a run's stage, with the configuration beside it. */
async function writeRun(command: ConvertCommand, file: TensorFile): Promise<string> {
  const { output, reporter, partial } = command;
  const metadata = Object.fromEntries(file.metadata);
  const loaded = await configOf(command, metadata.config);
  const { sizes, text, classNames } = describe(loaded, metadata["class_names"]);
  const report = compareWithModel(file, sizes);
  reporter.info(describeLoad(file.name, report));
  if (!partial) assertComplete(file.name, report);
  const { stage } = sizes;
  const folder = basename(output) === stage
    ? new StageFolder(output)
    : new RunFolder(output).stage(stage);
  if ((await folder.checkpoints()).length > 0) {
    throw new UserError(
      `Cannot write to ${folder.path}: expected a run without a ${stage}, found a checkpoint`,
    );
  }
  await folder.create();
  await writeFileAtomically(folder.configFile, text);
  const { step = "0", seed = String(loaded.config.seedEverything) } = metadata;
  const path = folder.checkpointFile(Number(step));
  await writeSafetensors(path, runTensors(file, report), {
    metadata: {
      format: stage === "tokenizer" ? TOKENIZER_FORMAT : TRANSFORMER_FORMAT,
      step,
      seed,
      config: text,
      ...(classNames && { "class_names": JSON.stringify(classNames) }),
    },
  });
  return path;
}

async function configOf(
  { config, input, output }: ConvertCommand,
  text: string | undefined,
): Promise<LoadedConfig> {
  if (config !== undefined) return await loadConfig({ file: config });
  if (text !== undefined) return resolveConfig(parseConfig(text, input));
  throw new UserError(
    `Cannot write the run ${
      join(output, "")
    }: expected --config FILE, as ${input} has no configuration, found none; a file's name ends in .ckpt, .pth, .pt or .safetensors`,
  );
}

/** Sizes and complete configuration of a model, and the names of its classes. */
function describe(
  loaded: LoadedConfig,
  names: string | undefined,
): {
  sizes: ModelSizes;
  training: WrittenTraining;
  text: string;
  classNames?: readonly string[];
} {
  const { config, file } = loaded;
  if (isTokenizerRun(config)) {
    return {
      sizes: { stage: "tokenizer", params: config.model.params },
      training: { stage: "tokenizer", config },
      text: loaded.toYaml(),
    };
  }
  if (!isTransformerRun(config)) throw new Error(`Cannot convert with config ${file}`);
  const { transformerConfig, condStageConfig } = config.model.params;
  const known: unknown = names === undefined ? undefined : JSON.parse(names);
  const given = Array.isArray(known) ? known.map(String) : undefined;
  const classNum = transformerConfig.params.classNum ?? condStageConfig.params.nClasses ??
    given?.length;
  if (classNum === undefined) {
    throw new UserError(
      `Cannot convert with config ${file}: expected class_num of the transformer, found null`,
    );
  }
  const complete = completeTransformer(config, { tokenizer: null, classNum, file });
  return {
    sizes: { stage: "transformer", gpt: complete.gpt },
    training: { stage: "transformer", ...complete },
    text: configToYaml(complete.config),
    classNames: given ?? Array.from({ length: classNum }, (_, i) => String(i)),
  };
}

/** `deno task train`: both stages, from configurations to a run folder. @module */

import { fileURLToPath } from "node:url";
import { CompileAhead } from "../compile_ahead.ts";
import {
  asTokenizer,
  asTransformer,
  type ConfigSource,
  distributeOverrides,
  isTokenizerRun,
  isTransformerRun,
  type LoadedConfig,
  readConfig,
  resolveConfig,
  type RunConfig,
} from "../config/mod.ts";
import { UserError } from "../errors.ts";
import { assertPrecision } from "../learner.ts";
import type { Reporter } from "../log.ts";
import { writeFileAtomically } from "../files/atomic.ts";
import { memoryBudgetBytes, openGpu } from "../open_gpu.ts";
import { type ProfileRequest, ProfileSession, TRAINING_WARM_UP } from "../profile_session.ts";
import { RunFolder, STAGE_NAMES, type StageFolder, type StageName } from "../run_folder.ts";
import { checkTransformerStage } from "../stage_check.ts";
import { Startup } from "../startup.ts";
import { type StageContext, trainTokenizer, trainTransformer } from "../stages.ts";

/** Exit code of a process that Ctrl-C ended, as shells count. */
const INTERRUPTED_EXIT_CODE = 130;

/** What the command line says. */
export interface TrainCommand {
  /** Files of `--config`; none for the defaults. */
  readonly configs: readonly string[];
  /** Folder of `--run`. */
  readonly run: string | undefined;
  /** Where runs are kept. */
  readonly runs: string;
  /** Whether to continue a run. */
  readonly resume: boolean;
  /** Texts `key.path=value`. */
  readonly overrides: readonly string[];
  /** Whether and how to profile. */
  readonly profile: ProfileRequest | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Configurations by stage. */
type Stages = Partial<Record<StageName, LoadedConfig>>;

/**
 * Trains.
 *
 * @param command What the command line says.
 * @returns Exit code: 0, or 130 after Ctrl-C.
 * @throws {UserError} If a configuration, the data or a checkpoint is not what it should be.
 */
export async function runTrain(command: TrainCommand): Promise<number> {
  const { reporter } = command;
  const resumed = command.resume
    ? await RunFolder.open(command.runs, command.run === undefined ? {} : { path: command.run })
    : undefined;
  const stages = await loadStages(command, resumed);
  for (const loaded of Object.values(stages)) {
    for (const warning of loaded.warnings) reporter.warn(warning);
  }
  const { profile } = command;
  if (profile?.out !== undefined && Object.keys(stages).length > 1) {
    throw new UserError(
      "Cannot profile two stages into one file: expected --config or no --profile-out, found two stages",
    );
  }
  using ahead = new CompileAhead();
  using gpu = await openGpu(ahead);
  // Both stages at once: the second must not fail after hours of the first.
  for (const { config } of Object.values(stages)) assertPrecision(gpu, config.trainer.precision);
  if (profile) gpu.requireTimestamps();
  const run = resumed ?? await openRun(command, stages);
  const tiles = gpu.tiles.measured > 0
    ? `${gpu.tiles.measured} measured tiles`
    : "default tiles (deno task tune measures better ones)";
  reporter.info(`run ${run.path} on ${gpu.adapter.name}, ${tiles}`);
  using interruption = new Interruption(reporter);
  const context = {
    gpu,
    run,
    reporter,
    signal: interruption.signal,
    startup: new Startup(ahead),
    ...(profile && {
      profile: (folder: StageFolder) =>
        new ProfileSession(gpu, {
          path: profile.out ?? folder.profileFile,
          warmUp: TRAINING_WARM_UP,
          steps: profile.steps,
          say: (text) => reporter.info(text),
        }),
    }),
  };
  let finished: boolean;
  try {
    finished = await trainStages(stages, context);
  } catch (error) {
    if (!resumed && command.run === undefined) await run.discardUnstarted();
    throw error;
  }
  if (!finished) {
    reporter.info(
      `stopped; continue with: deno task train --resume --run ${run.path}`,
    );
    return INTERRUPTED_EXIT_CODE;
  }
  reporter.info(
    (await run.stage("transformer").checkpoints()).length > 0
      ? `done: ${run.path}\nnext: deno task sample       draws images of every class\n      deno task evaluate     measures the run`
      : `done: ${run.path}\nnext: deno task reconstruct  draws images beside their reconstructions`,
  );
  return 0;
}

/** Trains one stage after the other; false if the signal came before the end. */
async function trainStages(stages: Stages, context: StageContext): Promise<boolean> {
  const { tokenizer, transformer } = stages;
  if (transformer) {
    await checkTransformerStage(asTransformer(transformer), {
      run: context.run,
      tokenizer: tokenizer && asTokenizer(tokenizer).config.model.params,
    });
  }
  await keepConfigs(context.run, stages);
  if (tokenizer && !await trainTokenizer(asTokenizer(tokenizer), context)) return false;
  return !transformer || await trainTransformer(asTransformer(transformer), context);
}

/** Configurations of the stages to train: those of the run that is resumed, and the named ones; of a new run also the defaults. */
async function loadStages(command: TrainCommand, resumed: RunFolder | undefined): Promise<Stages> {
  const sources: Partial<Record<StageName, ConfigSource>> = {};
  for (const name of STAGE_NAMES) {
    const kept = resumed?.stage(name).configFile;
    if (kept === undefined || !await exists(kept)) continue;
    const source = await readConfig(kept);
    if (isTrained(resolveConfig(source, budget()).config)) sources[name] = source;
  }
  const defaults = resumed
    ? []
    : STAGE_NAMES.map((name) =>
      fileURLToPath(new URL(`../../configs/openmoji_${name}.yaml`, import.meta.url))
    );
  for (const file of command.configs.length > 0 ? command.configs : defaults) {
    const source = await readConfig(file);
    const name = stageOf(resolveConfig(source, budget()).config);
    if (sources[name]) {
      throw new UserError(
        `Cannot train with config ${file}: expected one config for each stage, found ${
          sources[name].file
        } for the ${name}; overrides KEY=VALUE change single values`,
      );
    }
    sources[name] = source;
  }
  return applyOverrides(command.overrides, sources);
}

/** Writes the configurations of stages that are not trained yet, so that a resumed run has them, overrides included. */
async function keepConfigs(run: RunFolder, stages: Stages): Promise<void> {
  for (const name of STAGE_NAMES) {
    const loaded = stages[name];
    const folder = run.stage(name);
    if (!loaded || (await folder.checkpoints()).length > 0) continue;
    await folder.create();
    await writeFileAtomically(folder.configFile, loaded.toYaml());
  }
}

function applyOverrides(
  overrides: readonly string[],
  { tokenizer, transformer }: Partial<Record<StageName, ConfigSource>>,
): Stages {
  if (tokenizer && transformer) {
    const split = distributeOverrides(overrides, { tokenizer, transformer });
    return {
      tokenizer: resolveConfig(tokenizer, { ...budget(), overrides: split.tokenizer }),
      transformer: resolveConfig(transformer, { ...budget(), overrides: split.transformer }),
    };
  }
  const own = (name: StageName): readonly string[] =>
    overrides.map((text) => text.startsWith(`${name}.`) ? text.slice(name.length + 1) : text);
  return {
    ...(tokenizer && {
      tokenizer: resolveConfig(tokenizer, { ...budget(), overrides: own("tokenizer") }),
    }),
    ...(transformer && {
      transformer: resolveConfig(transformer, { ...budget(), overrides: own("transformer") }),
    }),
  };
}

function budget(): { codebookBudgetBytes: number } {
  return { codebookBudgetBytes: memoryBudgetBytes() };
}

function stageOf(config: RunConfig): StageName {
  return isTokenizerRun(config) ? "tokenizer" : "transformer";
}

/** A new run, or the given one if the stages to train are not in it yet. */
async function openRun(command: TrainCommand, stages: Stages): Promise<RunFolder> {
  if (command.run === undefined) {
    if (!stages.tokenizer && !namesTokenizer(stages.transformer)) {
      throw new UserError(
        "Cannot train stage II alone in a new run: expected --run FOLDER with a trained tokenizer, or its checkpoint as first_stage_config.ckpt_path, found none",
      );
    }
    return await RunFolder.create(command.runs, new Date());
  }
  const run = new RunFolder(command.run);
  for (const name of Object.keys(stages) as StageName[]) {
    if ((await run.stage(name).checkpoints()).length > 0) {
      throw new UserError(
        `Cannot train the ${name} in ${command.run}: expected a run without one, found a checkpoint; continue it with --resume`,
      );
    }
  }
  return run;
}

/** Whether a run trains this stage: a tokenizer that came with stage II is only used. */
function isTrained(config: RunConfig): boolean {
  return !isTokenizerRun(config) || config.model.params.stage === null;
}

/** Whether stage II brings its tokenizer. */
function namesTokenizer(transformer: LoadedConfig | undefined): boolean {
  const config = transformer?.config;
  if (!config || !isTransformerRun(config)) return false;
  return (config.model.params.firstStageConfig?.params.ckptPath ?? null) !== null;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Ctrl-C: the first one ends after the running step, the second one at once. */
class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #listener: () => void;

  constructor(reporter: Reporter) {
    this.#listener = () => {
      if (this.signal.aborted) Deno.exit(INTERRUPTED_EXIT_CODE);
      reporter.info("stopping after this step; press Ctrl-C again to stop at once");
      this.#controller.abort();
    };
    Deno.addSignalListener("SIGINT", this.#listener);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    Deno.removeSignalListener("SIGINT", this.#listener);
  }
}

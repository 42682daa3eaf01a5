/** The command line: parses, calls train/, prints. @module */

import { parseArgs } from "@std/cli/parse-args";
import { runEvaluate } from "./train/commands/evaluate.ts";
import { runReconstruct } from "./train/commands/reconstruct.ts";
import { runSample } from "./train/commands/sample.ts";
import { runTrain } from "./train/commands/train.ts";
import { GpuError, GpuMemoryError } from "./kernels/errors.ts";
import { USER_ERROR_EXIT_CODE, UserError } from "./train/errors.ts";
import { Reporter } from "./train/log.ts";
import type { ProfileRequest } from "./train/profile_session.ts";

/** One command of the command line. */
interface Command {
  /** Shown by --help. */
  readonly help: string;
  /** Options that take a value. */
  readonly values: readonly string[];
  /** Options that take none. */
  readonly flags: readonly string[];
  /** Options that may be given several times. */
  readonly lists?: readonly string[];
  /** Runs it; returns the exit code. */
  readonly run: (input: CommandInput) => Promise<number>;
}

/** What a command gets. */
interface CommandInput {
  /** Values by option name. */
  readonly values: Readonly<Record<string, string | undefined>>;
  /** Flags by option name. */
  readonly flags: Readonly<Record<string, boolean>>;
  /** Lists by option name. */
  readonly lists: Readonly<Record<string, readonly string[]>>;
  /** What is left: overrides or files. */
  readonly rest: readonly string[];
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Options of a command that can measure itself; `what` is measured. */
const profileHelp = (what: string): string =>
  `  --profile         time per kernel of some ${what}, as a table and a trace for chrome://tracing
  --profile-steps N how many ${what}, behind a warm-up (default: 3)
  --profile-out FILE
                    the trace (default: profile….json in the run's folder)`;

const PROFILE_VALUES = ["profile-steps", "profile-out"];

function profileOption({ values, flags }: CommandInput): ProfileRequest | undefined {
  const steps = numberOption(values, "profile-steps", 3, { minimum: 1, whole: true });
  if (flags.profile) return { steps, out: values["profile-out"] };
  const lone = PROFILE_VALUES.find((name) => values[name] !== undefined);
  if (lone === undefined) return undefined;
  throw new UserError(`Cannot read --${lone}: expected --profile beside it, found none`);
}

const COMMON = `
  --runs FOLDER     where runs are kept (default: runs)
  --debug           show stack traces
  --help            show this text`;

const COMMANDS: Readonly<Record<string, Command>> = {
  train: {
    help: `Train the tokenizer (stage I), then the transformer on its tokens (stage II).

Usage: deno task train [options] [key.path=value ...]

Without options it trains both stages on the embedded OpenMoji drawings and leaves a run folder.

Options:
  --config FILE     train the stage of this YAML file only; give it twice for both stages
                    (default: configs/openmoji_tokenizer.yaml and configs/openmoji_transformer.yaml)
  --run FOLDER      add the stages to this run, or resume it (default: a new folder in runs/)
  --resume          continue the newest run (or --run FOLDER) where it stopped
${profileHelp("steps of each stage")}
${COMMON}

Overrides change one value of a configuration, for example
  data.train=photos                  a folder of PNG and JPEG files, one sub-folder a class
  tokenizer.trainer.max_steps=2000   of stage I only; transformer.… is stage II only`,
    values: ["config", "run", "runs", ...PROFILE_VALUES],
    lists: ["config"],
    flags: ["resume", "profile"],
    run: (input) => {
      const { values, flags, lists, rest, reporter } = input;
      return runTrain({
        configs: lists.config ?? [],
        run: values.run,
        runs: values.runs ?? "runs",
        resume: flags.resume ?? false,
        overrides: rest,
        profile: profileOption(input),
        reporter,
      });
    },
  },
  sample: {
    help: `Draw images class by class from the newest run, as one labeled contact sheet (PNG).

Usage: deno task sample [options]

Options:
  --run FOLDER      take this run (default: the newest one with both stages)
  --classes LIST    classes by name or number, separated by commas (default: all)
  --per-class N     images of each class (default: 8)
  --cfg-scale X     classifier-free guidance; 1 is none (default: 2)
  --temperature X   divides the logits (default: 1)
  --top-k N         choose among the N likeliest tokens; 0 is all (default: 0)
  --top-p X         choose among the likeliest tokens of this total probability (default: 1)
  --seed N          seed of the first image; the others count on (default: 0)
  --batch-size N    images at once; does not change them (default: 32)
  --precision TYPE  f32 or f16: how the transformer's weights are kept (default: f32)
  --kv-cache TYPE   f32 or f16: how keys and values of earlier tokens are kept (default: as the weights)
  --out FILE        the picture (default: samples.png in the run's folder)
${profileHelp("batches")}
${COMMON}`,
    values: [
      "run",
      "runs",
      "classes",
      "per-class",
      "cfg-scale",
      "temperature",
      "top-k",
      "top-p",
      "seed",
      "batch-size",
      "precision",
      "kv-cache",
      "out",
      ...PROFILE_VALUES,
    ],
    flags: ["profile"],
    run: (input) => {
      const { values, rest, reporter } = input;
      refuseRest(rest, "sample");
      const precision = typeOption(values, "precision", "f32");
      return runSample({
        runs: values.runs ?? "runs",
        run: values.run,
        classes: values.classes,
        perClass: numberOption(values, "per-class", 8, { minimum: 1, whole: true }),
        guidance: numberOption(values, "cfg-scale", 2, { minimum: 0 }),
        temperature: numberOption(values, "temperature", 1, { above: 0 }),
        topK: numberOption(values, "top-k", 0, { minimum: 0, whole: true }),
        topP: numberOption(values, "top-p", 1, { minimum: 0, maximum: 1 }),
        seed: numberOption(values, "seed", 0, { minimum: 0, whole: true }),
        batchSize: numberOption(values, "batch-size", 32, { minimum: 1, whole: true }),
        precision,
        cacheType: typeOption(values, "kv-cache", precision),
        out: values.out,
        profile: profileOption(input),
        reporter,
      });
    },
  },
  reconstruct: {
    help: `Draw images beside their reconstructions by the newest run's tokenizer (PNG).

Usage: deno task reconstruct [options] [IMAGE ...]

Without images it takes the first ones of the validation split.

Options:
  --run FOLDER      take this run (default: the newest one with a tokenizer)
  --count N         images of the validation split (default: 16)
  --out FILE        the picture (default: reconstructions.png in the run's folder)
${profileHelp("batches")}
${COMMON}`,
    values: ["run", "runs", "count", "out", ...PROFILE_VALUES],
    flags: ["profile"],
    run: (input) => {
      const { values, rest, reporter } = input;
      return runReconstruct({
        runs: values.runs ?? "runs",
        run: values.run,
        images: rest,
        count: numberOption(values, "count", 16, { minimum: 1, whole: true }),
        out: values.out,
        profile: profileOption(input),
        reporter,
      });
    },
  },
  evaluate: {
    help:
      `Measure the newest run on the validation split: reconstruction, codes used, stage-II loss, class likeness of samples.

Usage: deno task evaluate [options]

Options:
  --run FOLDER          take this run (default: the newest one with both stages)
  --samples-per-class N samples of each class that are compared with the class means (default: 64)
  --cfg-scale X         classifier-free guidance of those samples (default: 2)
  --seed N              seed of the first sample (default: 0)
${profileHelp("batches of samples")}
${COMMON}`,
    values: ["run", "runs", "samples-per-class", "cfg-scale", "seed", ...PROFILE_VALUES],
    flags: ["profile"],
    run: (input) => {
      const { values, rest, reporter } = input;
      refuseRest(rest, "evaluate");
      return runEvaluate({
        runs: values.runs ?? "runs",
        run: values.run,
        samplesPerClass: numberOption(values, "samples-per-class", 64, { minimum: 1, whole: true }),
        guidance: numberOption(values, "cfg-scale", 2, { minimum: 0 }),
        seed: numberOption(values, "seed", 0, { minimum: 0, whole: true }),
        profile: profileOption(input),
        reporter,
      });
    },
  },
};

const USAGE = `Tessera: image tokenizers and generators, trained on any GPU with WGSL.

Usage: deno task <command> [options]

Commands:
${
  Object.entries(COMMANDS).map(([name, { help }]) => `  ${name.padEnd(12)} ${help.split("\n")[0]}`)
    .join("\n")
}

Every command has --help.`;

function refuseRest(rest: readonly string[], command: string): void {
  if (rest.length > 0) {
    throw new UserError(
      `Cannot run ${command}: expected options only, found "${
        rest[0]
      }"; see deno task ${command} --help`,
    );
  }
}

function typeOption(
  values: Readonly<Record<string, string | undefined>>,
  name: string,
  fallback: "f32" | "f16",
): "f32" | "f16" {
  const value = values[name] ?? fallback;
  if (value === "f32" || value === "f16") return value;
  throw new UserError(`Cannot read --${name}: expected f32 or f16, found "${value}"`);
}

function numberOption(
  values: Readonly<Record<string, string | undefined>>,
  name: string,
  fallback: number,
  range: { minimum?: number; maximum?: number; above?: number; whole?: boolean },
): number {
  const text = values[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  const { minimum = -Infinity, maximum = Infinity, above = -Infinity, whole = false } = range;
  const good = text.trim() !== "" && value >= minimum && value <= maximum && value > above &&
    Number.isFinite(value) && (!whole || Number.isSafeInteger(value));
  if (!good) {
    const bounds = [
      minimum > -Infinity ? `at least ${minimum}` : "",
      above > -Infinity ? `above ${above}` : "",
      maximum < Infinity ? `at most ${maximum}` : "",
    ].filter(Boolean).join(" and ");
    throw new UserError(
      `Cannot read --${name}: expected a ${whole ? "whole " : ""}number ${bounds}, found "${text}"`,
    );
  }
  return value;
}

function parseCommand(name: string, command: Command, args: readonly string[]): CommandInput {
  const known = [...command.values, ...command.flags, "debug", "help"];
  const lists = command.lists ?? [];
  const parsed = parseArgs([...args], {
    string: [...command.values, "_"],
    boolean: [...command.flags, "debug", "help"],
    collect: [...lists],
    unknown: (argument, key) => {
      if (key === undefined) return true;
      throw new UserError(
        `Cannot run ${name}: expected one of ${
          known.map((option) => `--${option}`).join(", ")
        }, found "${argument}"`,
      );
    },
  });
  const values: Record<string, string | undefined> = {};
  const collected: Record<string, string[]> = {};
  for (const option of command.values) {
    const value: unknown = parsed[option];
    if (value === "" || (Array.isArray(value) && value.includes(""))) {
      throw new UserError(`Cannot run ${name}: expected a value after --${option}, found none`);
    }
    if (lists.includes(option)) {
      collected[option] = Array.isArray(value) ? value.map(String) : [];
    } else if (value !== undefined) values[option] = String(value);
  }
  const flags = Object.fromEntries(
    [...command.flags, "debug", "help"].map((flag) => [flag, parsed[flag] === true]),
  );
  const reporter = new Reporter({ debug: flags.debug ?? false });
  return { values, flags, lists: collected, rest: parsed._.map(String), reporter };
}

/**
 * Runs the command line.
 *
 * @param args Arguments without the program's name.
 * @returns The exit code: 0, 2 for a mistake of the user, 130 after Ctrl-C, 1 for anything else.
 */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || ["help", "--help", "-h"].includes(name)) {
    console.log(USAGE);
    return name === undefined ? USER_ERROR_EXIT_CODE : 0;
  }
  const debug = rest.includes("--debug");
  try {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!command) {
      throw new UserError(
        `Cannot run "${name}": expected one of ${
          Object.keys(COMMANDS).join(", ")
        }; see deno task train --help`,
      );
    }
    const input = parseCommand(name, command, rest);
    if (input.flags.help) {
      console.log(command.help);
      return 0;
    }
    return await command.run(input);
  } catch (error) {
    const code = new Reporter({ debug }).error(error);
    // No adapter, or sizes that do not fit it: nothing that the program could do better.
    const environment = error instanceof GpuMemoryError ||
      (error instanceof GpuError && error.operation === "requestAdapter");
    return environment ? USER_ERROR_EXIT_CODE : code;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));

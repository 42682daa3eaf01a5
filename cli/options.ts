/** Options that commands share, and how values are read. @module */

import { UserError } from "../train/errors.ts";
import type { ModelSelection } from "../train/model_sources.ts";
import type { ProfileRequest } from "../train/profile_session.ts";
import type { CommandInput } from "./command.ts";

/** Options of a command that can measure itself; `what` is measured. */
export const profileHelp = (what: string): string =>
  `  --profile         time per kernel of some ${what}, as a table and a trace for chrome://tracing
  --profile-steps N how many ${what}, behind a warm-up (default: 3)
  --profile-out FILE
                    the trace (default: profile….json in the run's folder)`;

/** Names of those that take a value. */
export const PROFILE_VALUES = ["profile-steps", "profile-out"];

/** What to measure, if the command line asks for it. */
export function profileOption({ values, flags }: CommandInput): ProfileRequest | undefined {
  const steps = numberOption(values, "profile-steps", 3, { minimum: 1, whole: true });
  if (flags.profile) return { steps, out: values["profile-out"] };
  const lone = PROFILE_VALUES.find((name) => values[name] !== undefined);
  if (lone === undefined) return undefined;
  throw new UserError(`Cannot read --${lone}: expected --profile beside it, found none`);
}

/** Options of a command that opens a tokenizer. */
export const TOKENIZER_HELP =
  `  --config FILE     a configuration (YAML) in place of a run; with --ckpt
  --ckpt FILE       weights: .ckpt, .pth, .safetensors or an index of several, in place of the run's newest
  --partial         accept weights that lack tensors of the model, or have others`;

/** Options of a command that opens a transformer and its tokenizer. */
export const MODELS_HELP = `${TOKENIZER_HELP}
  --tokenizer-ckpt FILE    weights of the tokenizer (default: the run's, or ckpt_path of first_stage_config)
  --tokenizer-config FILE  its configuration (default: the run's, or first_stage_config)`;

/** Names of those that take a value. */
export const MODEL_VALUES = ["run", "runs", "config", "ckpt"];

/** Names of those of {@linkcode MODELS_HELP} besides. */
export const TOKENIZER_VALUES = ["tokenizer-ckpt", "tokenizer-config"];

/** The models that the command line means. */
export function modelSelection({ values, flags }: CommandInput): ModelSelection {
  if (values.config !== undefined && values.run !== undefined) {
    throw new UserError("Cannot open models: expected --run or --config, found both");
  }
  return {
    runs: values.runs ?? "runs",
    run: values.run,
    config: values.config,
    ckpt: values.ckpt,
    tokenizerConfig: values["tokenizer-config"],
    tokenizerCkpt: values["tokenizer-ckpt"],
    partial: flags.partial ?? false,
  };
}

/** Options of every command. */
export const COMMON = `
  --runs FOLDER     where runs are kept (default: runs)
  --debug           show stack traces
  --help            show this text`;

/** The reference's `--model`: this program has one of its two. */
export function refuseOtherModels(
  values: Readonly<Record<string, string | undefined>>,
): void {
  const { model = "IBQ" } = values;
  if (model === "IBQ") return;
  throw new UserError(`Cannot read --model: expected IBQ, found "${model}", which is not here`);
}

/** Refuses arguments that are no options. */
export function refuseRest(rest: readonly string[], command: string): void {
  if (rest.length > 0) {
    throw new UserError(
      `Cannot run ${command}: expected options only, found "${
        rest[0]
      }"; see deno task ${command} --help`,
    );
  }
}

/** A storage type. */
export function typeOption(
  values: Readonly<Record<string, string | undefined>>,
  name: string,
  fallback: "f32" | "f16",
): "f32" | "f16" {
  const value = values[name] ?? fallback;
  if (value === "f32" || value === "f16") return value;
  throw new UserError(`Cannot read --${name}: expected f32 or f16, found "${value}"`);
}

/** A number within bounds. */
export function numberOption(
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

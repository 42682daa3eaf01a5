/** `deno task train`. @module */

import { runTrain } from "../train/commands/train.ts";
import type { Command } from "./command.ts";
import { COMMON, PROFILE_VALUES, profileHelp, profileOption } from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task train [options] [key.path=value ...]

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
  tokenizer.trainer.max_steps=2000   of stage I only; transformer.… is stage II only
The reference's way of saying it is understood too: fit --config FILE --trainer.max_epochs 3 --ckpt_path FILE`,
  values: ["config", "run", "runs", ...PROFILE_VALUES],
  lists: ["config"],
  flags: ["resume", "profile"],
  rewrite: fromLightning,
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
};

/** Keys of a configuration that Lightning's command line takes as options, beside those with a dot. */
const TOP_LEVEL_KEYS = ["seed_everything", "ckpt_path"];

/** Rewrites what Lightning's command line takes: the word `fit`, and `--key.path VALUE` or `--key.path=VALUE` for overrides. */
function fromLightning(args: readonly string[]): string[] {
  const rewritten: string[] = [];
  const rest = args[0] === "fit" ? args.slice(1) : [...args];
  for (let i = 0; i < rest.length; i++) {
    const [, key = "", value] = /^--([A-Za-z_][\w.]*)(?:=(.*))?$/s.exec(rest[i]!) ?? [];
    const isKey = key.includes(".") || TOP_LEVEL_KEYS.includes(key);
    // Without its value it stays an option, which is then refused by its name.
    if (isKey && value !== undefined) rewritten.push(`${key}=${value}`);
    else if (isKey && i + 1 < rest.length) rewritten.push(`${key}=${rest[++i]}`);
    else rewritten.push(rest[i]!);
  }
  return rewritten;
}

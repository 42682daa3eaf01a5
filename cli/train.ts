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
};

/** `deno task reconstruct`. @module */

import { runReconstruct } from "../train/commands/reconstruct.ts";
import type { Command } from "./command.ts";
import {
  COMMON,
  MODEL_VALUES,
  modelSelection,
  numberOption,
  PROFILE_VALUES,
  profileHelp,
  profileOption,
  TOKENIZER_HELP,
} from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task reconstruct [options] [IMAGE ...]

Without images it takes the first ones of the validation split.

Options:
  --run FOLDER      take this run (default: the newest one with a tokenizer)
${TOKENIZER_HELP}
  --count N         images of the validation split (default: 16)
  --out FILE        the picture (default: reconstructions.png in the run's folder)
${profileHelp("batches")}
${COMMON}`,
  values: [...MODEL_VALUES, "count", "out", ...PROFILE_VALUES],
  flags: ["partial", "profile"],
  run: (input) => {
    const { values, rest, reporter } = input;
    return runReconstruct({
      ...modelSelection(input),
      images: rest,
      count: numberOption(values, "count", 16, { minimum: 1, whole: true }),
      out: values.out,
      profile: profileOption(input),
      reporter,
    });
  },
};

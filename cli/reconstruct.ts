/** `deno task reconstruct`. @module */

import { runReconstruct } from "../train/commands/reconstruct.ts";
import type { Command } from "./command.ts";
import { COMMON, numberOption, PROFILE_VALUES, profileHelp, profileOption } from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task reconstruct [options] [IMAGE ...]

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
};

/** `deno task combine`. @module */

import { runCombine } from "../train/commands/combine.ts";
import { UserError } from "../train/errors.ts";
import type { Command } from "./command.ts";
import { numberOption, refuseRest } from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task combine --logdir FOLDER [options]

Combines every samples_*.npz of the folder into FOLDER/sample.npz, in random order, image by image: 50,000
images never are in memory at once.

Options:
  --logdir FOLDER   what sample --npz printed, without the file's name
  --seed N          seed of the order (default: 0)
  --debug           show stack traces
  --help            show this text`,
  values: ["logdir", "seed"],
  flags: [],
  run: ({ values, rest, reporter }) => {
    refuseRest(rest, "combine");
    if (values.logdir === undefined) {
      throw new UserError("Cannot run combine: expected --logdir FOLDER, found none");
    }
    const seed = numberOption(values, "seed", 0, { minimum: 0, whole: true });
    return runCombine({ folder: values.logdir, seed, reporter });
  },
};

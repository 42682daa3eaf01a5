/** `deno task weights`. @module */

import { runWeights } from "../train/commands/weights.ts";
import { FOLDER_VARIABLE, MIRROR_VARIABLE, weightsFolder } from "../train/pretrained/store.ts";
import { PRETRAINED } from "../train/pretrained/table.ts";
import type { Command } from "./command.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task weights [options] [NAME | FILE ...]

Without names it fetches all: ${Object.keys(PRETRAINED).join(", ")}. What was cut is continued.
A FILE at hand is copied into the folder under its right name; its SHA-256 tells what it is.

Options:
  --folder FOLDER   where they are kept (default: ${FOLDER_VARIABLE}, or .cache/weights of the project)
  --mirror PLACE    a URL or a folder that has them under the same names (default: ${MIRROR_VARIABLE})
  --list            say only what is there
  --debug           show stack traces
  --help            show this text`,
  values: ["folder", "mirror"],
  flags: ["list"],
  run: ({ values, flags, rest, reporter }) =>
    runWeights({
      wanted: rest,
      list: flags.list ?? false,
      folder: values.folder ?? weightsFolder(),
      mirror: values.mirror ?? Deno.env.get(MIRROR_VARIABLE),
      reporter,
    }),
};

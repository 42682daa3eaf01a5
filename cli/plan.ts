/** `deno task plan`. @module */

import { UserError } from "../train/errors.ts";
import { runPlan } from "../train/commands/plan.ts";
import type { Command } from "./command.ts";
import { numberOption, typeOption } from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task plan --config FILE [options] [KEY=VALUE ...]

Options:
  --config FILE     the configuration of either stage
  --batch N         images of a batch (default: the configuration's; with batch_size=auto the most that fit)
  --precision TYPE  f32 or f16 (default: the configuration's)
  --memory GIB      what buffers may take in all (default: 80 % of the machine's memory)
  --tokenizer FILE  tokenizer of a transformer whose configuration names none
  --no-time         leave out the time of a step, which takes some seconds of measuring
  --debug           show stack traces
  --help            show this text

Nothing is allocated for the plan itself: the step runs on a device of sizes without memory.
Exit code: 0 if it fits, 1 if it does not.`,
  values: ["config", "batch", "precision", "memory", "tokenizer"],
  flags: ["no-time"],
  run: ({ values, flags, rest, reporter }) => {
    if (values.config === undefined) {
      throw new UserError("Cannot plan: expected --config FILE, found none");
    }
    const precision = values.precision === undefined
      ? []
      : [`trainer.precision=${typeOption(values, "precision", "f32")}`];
    const memory = numberOption(values, "memory", NaN, { above: 0 });
    return runPlan({
      config: values.config,
      batch: values.batch === undefined
        ? undefined
        : numberOption(values, "batch", 1, { minimum: 1, whole: true }),
      memoryBytes: Number.isNaN(memory) ? undefined : memory * 2 ** 30,
      tokenizer: values.tokenizer,
      calibrate: !flags["no-time"],
      overrides: [...rest, ...precision],
      reporter,
    });
  },
};

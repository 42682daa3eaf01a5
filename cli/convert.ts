/** `deno task convert`. @module */

import { runConvert } from "../train/commands/convert.ts";
import { UserError } from "../train/errors.ts";
import { STAGE_NAMES } from "../train/run_folder.ts";
import type { Command } from "./command.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task convert [options] IN OUT

IN is a run, a stage of a run, a checkpoint of PyTorch (.ckpt, .pth, .pt), a safetensors file, or the index of several.
OUT says by its name what it becomes: .ckpt, .pth or .pt for PyTorch, .safetensors, or else the folder of a run,
which sample, reconstruct, evaluate and the training of stage II take.

Options:
  --stage NAME      tokenizer or transformer, where IN is a run with both
  --config FILE     the configuration of a run to write (default: the one in IN, if it has one)
  --partial         write a run even if tensors of the model are missing
  --debug           show stack traces
  --help            show this text`,
  values: ["stage", "config"],
  flags: ["partial"],
  run: ({ values, flags, rest, reporter }) => {
    const [input, output, ...others] = rest;
    if (input === undefined || output === undefined || others.length > 0) {
      throw new UserError(
        `Cannot run convert: expected IN and OUT, found ${rest.length} names; see deno task convert --help`,
      );
    }
    const stage = STAGE_NAMES.find((name) => name === values.stage);
    if (values.stage !== undefined && stage === undefined) {
      throw new UserError(
        `Cannot read --stage: expected ${STAGE_NAMES.join(" or ")}, found "${values.stage}"`,
      );
    }
    const { config } = values;
    const partial = flags.partial ?? false;
    return runConvert({ input, output, stage, config, partial, reporter });
  },
};

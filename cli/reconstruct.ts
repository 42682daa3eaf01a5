/** `deno task reconstruct`. @module */

import { join } from "node:path";
import { runReconstruct } from "../train/commands/reconstruct.ts";
import { UserError } from "../train/errors.ts";
import type { Command } from "./command.ts";
import {
  COMMON,
  MODEL_VALUES,
  modelSelection,
  numberOption,
  PROFILE_VALUES,
  profileHelp,
  profileOption,
  refuseOtherModels,
  TOKENIZER_HELP,
} from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task reconstruct [options] [IMAGE | FOLDER ...]

Images keep their size; folders are read to their bottom. Without either it takes the first ones of the
validation split. Names of the reference are understood as well: --image_size, --image_num, --save_dir.

Options:
  --run FOLDER      take this run (default: the newest one with a tokenizer)
${TOKENIZER_HELP}
  --image-num N     most images (default: all, 16 of the validation split); also --count
  --image-size N    scale the shorter side and cut a square of N pixels from the middle
  --subset FILE     of the folders take the images that this file names, a line each
  --batch-size N    images of equal size at once (default: by their size)
  --save-dir FOLDER
                    write original/, rec/ and side_by_side/ there, a PNG an image
                    (default: reconstructions in the run's folder for given images)
  --version NAME    a folder in --save-dir
  --model IBQ       as in the reference, whose other model is not here
  --out FILE        a sheet of all (default: reconstructions.png in the run's folder)
${profileHelp("batches")}
${COMMON}`,
  values: [
    ...MODEL_VALUES,
    "image-num",
    "image-size",
    "subset",
    "batch-size",
    "save-dir",
    "version",
    "out",
    "model",
    ...PROFILE_VALUES,
  ],
  flags: ["partial", "profile"],
  aliases: { count: "image-num", "config-file": "config", "ckpt-path": "ckpt" },
  run: (input) => {
    const { values, rest, reporter } = input;
    refuseOtherModels(values);
    const whole = (name: string): number | undefined =>
      values[name] === undefined
        ? undefined
        : numberOption(values, name, 0, { minimum: 1, whole: true });
    const saveDir = values["save-dir"];
    if (values.version !== undefined && saveDir === undefined) {
      throw new UserError("Cannot read --version: expected --save-dir beside it, found none");
    }
    if (values.subset !== undefined && rest.length === 0) {
      throw new UserError("Cannot read --subset: expected a folder of images, found none");
    }
    return runReconstruct({
      ...modelSelection(input),
      images: rest,
      count: whole("image-num"),
      imageSize: whole("image-size"),
      subset: values.subset,
      batchSize: whole("batch-size"),
      saveFolder: saveDir === undefined ? undefined : join(saveDir, values.version ?? ""),
      out: values.out,
      profile: profileOption(input),
      reporter,
    });
  },
};

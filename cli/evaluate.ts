/** `deno task evaluate`. @module */

import { runEvaluate } from "../train/commands/evaluate.ts";
import type { Command } from "./command.ts";
import {
  COMMON,
  MODEL_VALUES,
  MODELS_HELP,
  modelSelection,
  numberOption,
  PROFILE_VALUES,
  profileHelp,
  profileOption,
  refuseRest,
  TOKENIZER_VALUES,
} from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task evaluate [options]

Options:
  --run FOLDER          take this run (default: the newest one with both stages)
${MODELS_HELP}
  --samples-per-class N samples of each class that are compared with the class means (default: 64)
  --cfg-scale X         classifier-free guidance of those samples (default: 2)
  --seed N              seed of the first sample (default: 0)
${profileHelp("batches of samples")}
${COMMON}`,
  values: [
    ...MODEL_VALUES,
    ...TOKENIZER_VALUES,
    "samples-per-class",
    "cfg-scale",
    "seed",
    ...PROFILE_VALUES,
  ],
  flags: ["partial", "profile"],
  run: (input) => {
    const { values, rest, reporter } = input;
    refuseRest(rest, "evaluate");
    return runEvaluate({
      ...modelSelection(input),
      samplesPerClass: numberOption(values, "samples-per-class", 64, { minimum: 1, whole: true }),
      guidance: numberOption(values, "cfg-scale", 2, { minimum: 0 }),
      seed: numberOption(values, "seed", 0, { minimum: 0, whole: true }),
      profile: profileOption(input),
      reporter,
    });
  },
};

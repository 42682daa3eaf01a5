/** `deno task sample`. @module */

import { runSample } from "../train/commands/sample.ts";
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
  typeOption,
} from "./options.ts";

/** The command. */
export const command: Command = {
  help: `Usage: deno task sample [options]

Options:
  --run FOLDER      take this run (default: the newest one with both stages)
${MODELS_HELP}
  --classes LIST    classes by name or number, separated by commas (default: all)
  --per-class N     images of each class (default: 8)
  --cfg-scale X     classifier-free guidance; 1 is none (default: 2)
  --temperature X   divides the logits (default: 1)
  --top-k N         choose among the N likeliest tokens; 0 is all (default: 0)
  --top-p X         choose among the likeliest tokens of this total probability (default: 1)
  --seed N          seed of the first image; the others count on (default: 0)
  --batch-size N    images at once; does not change them (default: 32)
  --precision TYPE  f32 or f16: how the transformer's weights are kept (default: f32)
  --kv-cache TYPE   f32 or f16: how keys and values of earlier tokens are kept (default: as the weights)
  --out FILE        the picture (default: samples.png in the run's folder)
${profileHelp("batches")}
${COMMON}`,
  values: [
    ...MODEL_VALUES,
    ...TOKENIZER_VALUES,
    "classes",
    "per-class",
    "cfg-scale",
    "temperature",
    "top-k",
    "top-p",
    "seed",
    "batch-size",
    "precision",
    "kv-cache",
    "out",
    ...PROFILE_VALUES,
  ],
  flags: ["partial", "profile"],
  run: (input) => {
    const { values, rest, reporter } = input;
    refuseRest(rest, "sample");
    const precision = typeOption(values, "precision", "f32");
    return runSample({
      ...modelSelection(input),
      classes: values.classes,
      perClass: numberOption(values, "per-class", 8, { minimum: 1, whole: true }),
      guidance: numberOption(values, "cfg-scale", 2, { minimum: 0 }),
      temperature: numberOption(values, "temperature", 1, { above: 0 }),
      topK: numberOption(values, "top-k", 0, { minimum: 0, whole: true }),
      topP: numberOption(values, "top-p", 1, { minimum: 0, maximum: 1 }),
      seed: numberOption(values, "seed", 0, { minimum: 0, whole: true }),
      batchSize: numberOption(values, "batch-size", 32, { minimum: 1, whole: true }),
      precision,
      cacheType: typeOption(values, "kv-cache", precision),
      out: values.out,
      profile: profileOption(input),
      reporter,
    });
  },
};

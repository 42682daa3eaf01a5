/** `deno task sample`. @module */

import { runSample } from "../train/commands/sample.ts";
import type { Chunk } from "../train/commands/sample_chunk.ts";
import { SAMPLE_PRESETS, type SamplePreset } from "../train/commands/sample_settings.ts";
import { UserError } from "../train/errors.ts";
import type { Command, CommandInput } from "./command.ts";
import {
  COMMON,
  MODEL_VALUES,
  MODELS_HELP,
  modelSelection,
  numberOption,
  PROFILE_VALUES,
  profileHelp,
  profileOption,
  refuseOtherModels,
  refuseRest,
  TOKENIZER_VALUES,
  typeOption,
} from "./options.ts";

/** Options that say which part of a sampling for evaluation is drawn. */
const CHUNK_VALUES = ["global-seed", "num-chunks", "chunk-idx"];

/** The command. */
export const command: Command = {
  help: `Usage: deno task sample [options]

Writes samples/SETTINGS/CHECKPOINT/CLASS/NUMBER.png and a sheet of all; with --npz samples_CHUNK.npz, which
deno task combine makes the file of that evaluation suites read. All names of the reference are understood:
--top_k or -k, --top_p or -p, --temperature or -t, --num_samples or -n, --cfg_scale, --outdir or -o.

Options:
  --run FOLDER      take this run (default: the newest one with both stages)
${MODELS_HELP}
  --preset NAME     published settings: B, L, XL, XXL (tables) or showcase (pictures); options go before it
  --classes LIST    classes by name or number, separated by commas (default: all)
  --per-class N     images of each class (default: 8; 50 with --npz)
  --cfg-scale X     classifier-free guidance; 1 is none (default: 2)
  --temperature X   divides the logits (default: 1)
  --top-k N         choose among the N likeliest tokens; 0 is all (default: 0)
  --top-p X         choose among the likeliest tokens of this total probability (default: 1)
  --seed N          seed of the first picture; the others count on (default: 0)
  --batch-size N    images at once; does not change them (default: 32)
  --precision TYPE  f32 or f16: how the transformer's weights are kept (default: f32)
  --kv-cache TYPE   f32 or f16: how keys and values of earlier tokens are kept (default: as the weights)
  --outdir FOLDER   where the folder samples goes (default: the run's folder)
  --out FILE        the sheet (default: samples.png in the run's folder)
  --npz             write a file of all images for evaluation; a stopped one goes on class by class
  --num-chunks N    divide all classes into so many files, one a process (default: 1)
  --chunk-idx N     draw this one of them, from 0 (default: 0)
  --model IBQ       as in the reference, whose other model is not here
  --global-seed N   the chunk's seed is N x chunks + its number (default: 0)
${profileHelp("batches")}
${COMMON}`,
  values: [
    ...MODEL_VALUES,
    ...TOKENIZER_VALUES,
    "preset",
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
    "outdir",
    "out",
    "model",
    ...CHUNK_VALUES,
    ...PROFILE_VALUES,
  ],
  flags: ["npz", "partial", "profile"],
  aliases: {
    k: "top-k",
    p: "top-p",
    t: "temperature",
    n: "per-class",
    "num-samples": "per-class",
    o: "outdir",
  },
  run: (input) => {
    const { values, rest, reporter } = input;
    refuseRest(rest, "sample");
    refuseOtherModels(values);
    const precision = typeOption(values, "precision", "f32");
    const chunk = chunkOption(input);
    const preset = presetOption(input);
    return runSample({
      ...modelSelection(input),
      classes: values.classes,
      perClass: numberOption(values, "per-class", preset.perClass, { minimum: 1, whole: true }),
      guidance: numberOption(values, "cfg-scale", preset.guidance, { minimum: 0 }),
      temperature: numberOption(values, "temperature", preset.temperature, { above: 0 }),
      topK: numberOption(values, "top-k", preset.topK, { minimum: 0, whole: true }),
      topP: numberOption(values, "top-p", preset.topP, { minimum: 0, maximum: 1 }),
      seed: numberOption(values, "seed", 0, { minimum: 0, whole: true }),
      chunk,
      batchSize: numberOption(values, "batch-size", 32, { minimum: 1, whole: true }),
      precision,
      cacheType: typeOption(values, "kv-cache", precision),
      outFolder: values.outdir,
      out: values.out,
      profile: profileOption(input),
      reporter,
    });
  },
};

/** The settings that options replace one by one. */
function presetOption({ values, flags }: CommandInput): SamplePreset {
  const { preset } = values;
  if (preset === undefined) {
    return { perClass: flags.npz ? 50 : 8, temperature: 1, topK: 0, topP: 1, guidance: 2 };
  }
  const found = SAMPLE_PRESETS.get(preset);
  if (found) return found;
  throw new UserError(
    `Cannot read --preset: expected ${[...SAMPLE_PRESETS.keys()].join(", ")}, found "${preset}"`,
  );
}

/** Which part of a sampling for evaluation is drawn, if any. */
function chunkOption({ values, flags }: CommandInput): Chunk | undefined {
  const idle = flags.npz
    ? ["out", "seed"].find((name) => values[name] !== undefined)
    : CHUNK_VALUES.find((name) => values[name] !== undefined);
  if (idle !== undefined) {
    throw new UserError(
      flags.npz
        ? `Cannot read --${idle}: expected it without --npz, which has --outdir and --global-seed`
        : `Cannot read --${idle}: expected --npz beside it, found none`,
    );
  }
  if (!flags.npz) return undefined;
  const chunks = numberOption(values, "num-chunks", 1, { minimum: 1, whole: true });
  const last = chunks - 1;
  return {
    globalSeed: numberOption(values, "global-seed", 0, { minimum: 0, whole: true }),
    chunks,
    index: numberOption(values, "chunk-idx", 0, { minimum: 0, maximum: last, whole: true }),
  };
}

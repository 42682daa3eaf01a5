/** The schema of a whole run: trainer, data, and a model of either stage. @module */
import {
  boolean,
  choice,
  configError,
  describe,
  type Field,
  integer,
  list,
  nullable,
  number,
  text,
} from "./field.ts";
import { instance, object } from "./object_field.ts";
import { TOKENIZER_ALIASES, tokenizerParams } from "./tokenizer_schema.ts";
import { transformerParams } from "./transformer_schema.ts";
import type {
  DataModuleConfig,
  ImageFolderConfig,
  ImageNetConfig,
  OpenMojiConfig,
  Precision,
  RunConfig,
  ShardsConfig,
  TrainerConfig,
} from "./types.ts";

const everySteps = (doc: string) => integer({ doc, min: 1 });

/** Trainer options of Lightning that describe machines and objects which do not exist here. */
const IGNORED_TRAINER_KEYS = [
  ..."accelerator strategy devices num_nodes logger callbacks fast_dev_run min_epochs"
    .split(" "),
  ..."min_steps max_time limit_train_batches limit_test_batches limit_predict_batches".split(" "),
  ..."overfit_batches num_sanity_val_steps enable_checkpointing enable_progress_bar".split(" "),
  ..."enable_model_summary gradient_clip_algorithm deterministic benchmark inference_mode".split(
    " ",
  ),
  ..."use_distributed_sampler profiler barebones plugins sync_batchnorm".split(" "),
  ..."reload_dataloaders_every_n_epochs default_root_dir".split(" "),
];

/** Precisions by our names and Lightning's. */
const PRECISIONS: ReadonlyMap<unknown, Precision> = new Map<unknown, Precision>([
  ...[null, "f32", 32, "32", "32-true"].map((name) => [name, "f32"] as const),
  ...["f16", 16, "16", "16-mixed"].map((name) => [name, "f16"] as const),
]);
/** Lightning's names of a type that WebGPU lacks. */
const BFLOAT16: readonly unknown[] = ["bf16", "bf16-mixed"];

const precision: Field<Precision> = {
  expected: "f32 or f16 (or Lightning's 32-true or 16-mixed)",
  doc:
    "Type in which activations and copies of weights are stored; weights, sums and losses are f32",
  initial: { value: "f32" },
  read(value, place) {
    const found = PRECISIONS.get(value);
    if (found) return found;
    if (BFLOAT16.includes(value)) {
      // f32 holds every bfloat16, f16 does not.
      place.notes.add(
        `No bfloat16, which ${place.file} asks for as ${place.path}: WebGPU lacks it; f32 is taken (f16 needs half the bytes)`,
      );
      return "f32";
    }
    throw configError(place, `expected ${this.expected}, found ${describe(value)}`);
  },
  write: (value) => value,
  entries: () => [],
};

const trainer = object<TrainerConfig>({
  maxEpochs: nullable(integer({ doc: "Epochs of the run; null or -1 for no such limit", min: -1 })),
  maxSteps: integer({
    doc: "Optimizer steps of the run; -1 for no such limit",
    min: -1,
    initial: -1,
  }),
  logEveryNSteps: { ...everySteps("Steps between two lines of the log"), initial: { value: 1 } },
  valEveryNSteps: nullable(
    everySteps("Steps between two validations; null for the two options below"),
  ),
  valCheckInterval: number({
    doc: "A whole number of steps between validations, or a share of an epoch",
    min: 1e-6,
    initial: 1,
  }),
  checkValEveryNEpoch: nullable(integer({ doc: "Epochs between validations", min: 1, initial: 1 })),
  limitValBatches: nullable(integer({ doc: "Batches of a validation; null for all", min: 0 })),
  saveEveryNSteps: nullable(
    everySteps("Steps between two checkpoints; null for the end of each epoch"),
  ),
  imageEveryNSteps: { ...everySteps("Steps between two pictures"), initial: { value: 500 } },
  gradientClipVal: nullable(
    number({ doc: "Global norm of the gradients; null does not clip", min: 0 }),
  ),
  accumulateGradBatches: integer({
    doc: "Batches averaged for one optimizer step",
    min: 1,
    initial: 1,
  }),
  precision,
  detectAnomaly: boolean({
    doc: "Whether every result of every step is looked at for NaN and infinity",
    initial: false,
  }),
}, {
  doc: "How long to train and how often to do what",
  ignored: Object.fromEntries(IGNORED_TRAINER_KEYS.map((key) => [key, undefined])),
});

const size = nullable(
  integer({ doc: "Width and height in pixels; null for the tokenizer's", min: 1 }),
);
const split = choice(["train", "validation"], { doc: "Which part", initial: "train" });
const horizontalFlip = boolean({ doc: "Whether images are mirrored at random", initial: false });
const filterList = list(text({ doc: "A file" }), {
  doc: "Lists of members or samples",
  initial: [],
});

function imageNet(randomCrop: boolean): Field<ImageNetConfig> {
  return object<ImageNetConfig>({
    config: object<ImageNetConfig["config"]>({
      root: nullable(
        text({ doc: "Folder of the synsets' folders; null for the reference's place" }),
      ),
      size,
      subset: nullable(text({ doc: "Name of a list of files" })),
      subIndices: nullable(text({ doc: 'Classes to take, as "32-123, 256"' })),
      originalReso: boolean({ doc: "Whether images keep their own size", initial: false }),
      randomCrop: boolean({ doc: "Whether the square is cut out at random", initial: randomCrop }),
    }, { doc: "Options" }),
  }, { doc: "ImageNet as the reference lays it out" });
}

const shards = object<ShardsConfig>({
  config: object<ShardsConfig["config"]>({
    size,
    dataDir: list(text({ doc: "A folder" }), { doc: "Folders of shards", minLength: 1 }),
    imageKey: list(text({ doc: "An ending" }), {
      doc: "Endings of the members that are images",
      initial: ["jpg", "jpeg.jpg", "jpg.jpg"],
    }),
    enableImage: boolean({ doc: "Whether images are read at all", initial: true }),
    filterPath: filterList,
    sampleJsonPath: filterList,
    sampleCocoUrls: nullable(text({ doc: "List of the shards of LAION-COCO" })),
    sampleHdUrls: nullable(text({ doc: "List of the shards of LAION-HD" })),
  }, { doc: "Options", ignored: { subset: null } }),
}, { doc: "Tar shards of images" });

/** Both packages of the reference have the same data modules. */
const referenceNames = (name: string) => [`src.IBQ.data.${name}`, `src.Open_MAGVIT2.data.${name}`];

const dataset = instance([
  {
    target: "tessera.data.OpenMoji",
    aliases: [],
    params: object<OpenMojiConfig>({ size, split, horizontalFlip }, {
      doc: "The embedded drawings",
    }),
  },
  {
    target: "tessera.data.ImageFolder",
    aliases: [],
    params: object<ImageFolderConfig>({
      path: text({ doc: "The folder; each of its sub-folders is a class" }),
      size,
      split,
      horizontalFlip,
      randomCrop: boolean({ doc: "Whether the square is cut out at random", initial: false }),
    }, { doc: "A folder of images" }),
  },
  {
    target: "tessera.data.ImageNetTrain",
    aliases: referenceNames("imagenet.ImageNetTrain"),
    params: imageNet(true),
  },
  {
    target: "tessera.data.ImageNetValidation",
    aliases: referenceNames("imagenet.ImageNetValidation"),
    params: imageNet(false),
  },
  {
    target: "tessera.data.WebDataset",
    aliases: referenceNames("pretrain.LAIONCombineTrain"),
    params: shards,
  },
], { doc: "Images", keys: ["target", "params"] });

const dataModule = object<DataModuleConfig>({
  batchSize: integer({ doc: "Images of a batch", min: 1 }),
  numWorkers: nullable(integer({ doc: "Workers that decode images; null to choose", min: 0 })),
  train: { ...dataset, doc: "Images for training" },
  validation: nullable({ ...dataset, doc: "Images for validation; null for the held-out part" }),
  test: nullable({ ...dataset, doc: "Images for testing; null for those for validation" }),
}, { doc: "The images and how they are batched", ignored: { wrap: false } });

const lightningKeys = ["class_path", "init_args"] as const;

/** The seed as Lightning writes it: a number, or true for its default, 0. */
const seedEverything: Field<number> = {
  expected: "a whole number from 0 to 4294967295, or true for 0",
  doc: "Seed of everything random",
  initial: { value: 0 },
  read(value, place) {
    if (value === true) return 0;
    const valid = typeof value === "number" && Number.isInteger(value) && value >= 0 &&
      value < 2 ** 32;
    if (valid) return value;
    throw configError(place, `expected ${this.expected}, found ${describe(value)}`);
  },
  write: (value) => value,
  entries: () => [],
};

/** A whole configuration file. */
export const runSchema: Field<RunConfig> = object<RunConfig>({
  seedEverything,
  trainer,
  model: instance([
    { target: "tessera.models.IBQ", aliases: TOKENIZER_ALIASES, params: tokenizerParams },
    {
      target: "tessera.models.ClassConditionalTransformer",
      aliases: ["src.IBQ.models.cond_transformer_llama.Net2NetTransformer"],
      params: transformerParams,
    },
  ], { doc: "What is trained", keys: lightningKeys }),
  data: instance([
    {
      target: "tessera.data.DataModule",
      aliases: ["main.DataModuleFromConfig"],
      params: dataModule,
    },
  ], { doc: "On what", keys: lightningKeys, defaultTarget: "tessera.data.DataModule" }),
  ckptPath: nullable(text({ doc: "Checkpoint of a run to continue" })),
}, { doc: "A run" });

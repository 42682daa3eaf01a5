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
  text,
} from "./field.ts";
import { TOKEN_VIEWS } from "../views.ts";
import { instance, object } from "./object_field.ts";
import { trainer } from "./trainer_schema.ts";
import { TOKENIZER_VARIANTS } from "./tokenizer_schema.ts";
import { transformerParams } from "./transformer_schema.ts";
import type {
  DataModuleConfig,
  ImageFolderConfig,
  ImageNetConfig,
  NpzConfig,
  OpenMojiConfig,
  RunConfig,
  ShardsConfig,
} from "./types.ts";

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

/** Both packages of the reference have the same data modules, one of them from taming-transformers. */
const referenceNames = (name: string) =>
  ["src.IBQ.data", "src.Open_MAGVIT2.data", "taming.data"].map((path) => `${path}.${name}`);

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
    target: "tessera.data.Npz",
    aliases: [],
    params: object<NpzConfig>({
      path: text({ doc: "The file, with images in arr_0 and perhaps classes in arr_1" }),
      size,
      split: choice(["train", "validation", "all"], { doc: "Which part", initial: "train" }),
      horizontalFlip,
      randomCrop: boolean({ doc: "Whether the square is cut out at random", initial: false }),
    }, { doc: "Images of a .npz file" }),
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

/** Images of a batch, or the word for as many as fit. */
const batchSize: Field<number | "auto"> = {
  expected: "a whole number of at least 1, or auto",
  doc: "Images of a batch; auto for as many as the memory holds",
  initial: null,
  read(value, place) {
    if (value === "auto") return value;
    if (typeof value === "number" && Number.isInteger(value) && value >= 1) return value;
    throw configError(place, `expected ${this.expected}, found ${describe(value)}`);
  },
  write: (value) => value,
  entries: () => [],
};

const dataModule = object<DataModuleConfig>({
  batchSize,
  numWorkers: nullable(integer({ doc: "Workers that decode images; null to choose", min: 0 })),
  tokenCache: nullable(text({ doc: "Folder of stage II's tokens; null for the run's own" })),
  tokenViews: choice(TOKEN_VIEWS, {
    doc:
      "How stage II sees each training image: once, mirrored too, in ten crops, or with a random crop and flip anew at each step",
    initial: "one",
  }),
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
    ...TOKENIZER_VARIANTS,
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
  ckptPath: nullable(
    text({ doc: "Checkpoint of a run, or of the reference's trainer, to continue" }),
  ),
}, { doc: "A run", ignored: { lightning: undefined } });

/** Opens the data set that a configuration or a command line names. @module */

import { UserError } from "../errors.ts";
import type { Dataset, Split } from "./dataset.ts";
import { openIndexedFolder } from "./folder.ts";
import { openImageNet } from "./imagenet.ts";
import { openNpzImages } from "./npz_images.ts";
import { openOpenMoji } from "./openmoji.ts";
import { openShards } from "./shards.ts";

/** The configuration's name of the embedded data set. */
export const OPENMOJI_TARGET = "tessera.data.OpenMoji";

/** The configuration's name of a folder of images. */
export const IMAGE_FOLDER_TARGET = "tessera.data.ImageFolder";

/** The configuration's name of the images of a `.npz` file. */
export const NPZ_TARGET = "tessera.data.Npz";

/** The configuration's names of ImageNet's two splits. */
export const IMAGENET_TARGETS: Readonly<Record<Split, string>> = {
  train: "tessera.data.ImageNetTrain",
  validation: "tessera.data.ImageNetValidation",
};

/** The configuration's name of tar shards. */
export const SHARDS_TARGET = "tessera.data.WebDataset";

/**
 * Names a data set: `"openmoji"`, the path of a folder of images or of a `.npz` file, or an entry of a configuration.
 *
 * Parameters:
 * - `tessera.data.OpenMoji`: `horizontal_flip`, `cache_dir`
 * - `tessera.data.ImageFolder`: `path` (required), `random_crop`, `horizontal_flip`, `cache_bytes`
 * - `tessera.data.Npz`: `path` (required), `split` (`train`, `validation` or `all`), `random_crop`, `horizontal_flip`
 * - `tessera.data.ImageNetTrain`, `…Validation`: `config` with `root`, `subset`, `sub_indices`, `original_reso`, `random_crop`
 * - `tessera.data.WebDataset`: `config` with `data_dir` (required), `image_key`, `enable_image`, `filter_path`,
 *   `sample_json_path`, `sample_coco_urls`, `sample_hd_urls`
 */
export type DatasetSpec = string | {
  /** One of the names above. */
  readonly target: string;
  /** The target's parameters; unknown ones are refused. */
  readonly params?: Readonly<Record<string, unknown>>;
};

/** How {@linkcode openDataset} opens. */
export interface OpenDatasetOptions {
  /** Width and height of the images in pixels. */
  readonly resolution: number;
  /** Which part. */
  readonly split: Split;
  /** Receives the lines that count skipped files and damaged shards. */
  readonly warn: (message: string) => void;
  /** Number of decoding workers, 0 for none; by default one core stays free. */
  readonly workers?: number;
  /** Folder for what is kept between runs, such as lists of files; default `.cache`, null keeps nothing. */
  readonly cacheDirectory?: string | null;
}

/** Opens one kind of data set. */
type Opener = (
  read: Params,
  options: OpenDatasetOptions & { readonly cacheDirectory: string | null },
) => Promise<Dataset>;

const OPENERS: ReadonlyMap<string, Opener> = new Map([
  [OPENMOJI_TARGET, openDrawings],
  [IMAGE_FOLDER_TARGET, openFolder],
  [NPZ_TARGET, openNpz],
  [IMAGENET_TARGETS.train, imageNetOpener("train")],
  [IMAGENET_TARGETS.validation, imageNetOpener("validation")],
  [SHARDS_TARGET, openWebDataset],
]);

/**
 * Opens one split of a data set.
 *
 * @param spec Which data set.
 * @param options Resolution, split, where warnings go.
 * @returns The data set. Dispose it to end its workers.
 * @throws {UserError} If the data set does not exist, cannot be read or is empty, or a parameter is unknown or of another
 * type.
 */
export async function openDataset(
  spec: DatasetSpec,
  options: OpenDatasetOptions,
): Promise<Dataset> {
  const { target, params = {} } = typeof spec === "string" ? entryOf(spec) : spec;
  const opener = OPENERS.get(target);
  if (!opener) {
    const known = [...OPENERS.keys()].map((name) => `"${name}"`).join(", ");
    throw new UserError(`Cannot open the data set ${target}: expected one of ${known}`);
  }
  return await opener(new Params(target, params), { cacheDirectory: ".cache", ...options });
}

async function openDrawings(
  read: Params,
  { resolution, split, cacheDirectory }: Parameters<Opener>[1],
): Promise<Dataset> {
  const ownCache = read.take("cache_dir", isString);
  const horizontalFlip = read.take("horizontal_flip", isBoolean) ?? false;
  read.finish();
  return await openOpenMoji({
    resolution,
    split,
    horizontalFlip,
    cacheDirectory: ownCache ?? cacheDirectory,
  });
}

async function openFolder(read: Params, options: Parameters<Opener>[1]): Promise<Dataset> {
  const path = read.require("path", isString);
  const augmentation = takeAugmentation(read);
  const cacheBytes = read.take("cache_bytes", isCount);
  read.finish();
  return await openIndexedFolder(path, {
    ...options,
    ...augmentation,
    ...(cacheBytes === undefined ? {} : { cacheBytes }),
  });
}

async function openNpz(read: Params, options: Parameters<Opener>[1]): Promise<Dataset> {
  const path = read.require("path", isString);
  const split = read.take("split", isPart) ?? options.split;
  const augmentation = takeAugmentation(read);
  read.finish();
  return await openNpzImages(path, { ...options, ...augmentation, split });
}

function imageNetOpener(split: Split): Opener {
  return async (read, options) => {
    const config = read.nested("config");
    const root = config.take("root", isString) ?? null;
    const subset = config.take("subset", isString) ?? null;
    const subIndices = config.take("sub_indices", isString) ?? null;
    const originalReso = config.take("original_reso", isBoolean) ?? false;
    const randomCrop = config.take("random_crop", isBoolean) ?? split === "train";
    config.finish();
    read.finish();
    if (originalReso) {
      throw new UserError(
        `Cannot open ${
          IMAGENET_TARGETS[split]
        }: expected false for "original_reso", as images of different sizes do not ` +
          `fit one batch, found true; the command reconstruct takes images of any size`,
      );
    }
    return await openImageNet({ ...options, split, root, subset, subIndices, randomCrop });
  };
}

async function openWebDataset(read: Params, options: Parameters<Opener>[1]): Promise<Dataset> {
  const config = read.nested("config");
  const selection = {
    dataDir: config.require("data_dir", isTexts),
    imageKey: config.take("image_key", isTexts) ?? ["jpg", "jpeg.jpg", "jpg.jpg"],
    filterPath: config.take("filter_path", isTexts) ?? [],
    sampleJsonPath: config.take("sample_json_path", isTexts) ?? [],
    sampleCocoUrls: config.take("sample_coco_urls", isString) ?? null,
    sampleHdUrls: config.take("sample_hd_urls", isString) ?? null,
  };
  const enableImage = config.take("enable_image", isBoolean) ?? true;
  config.finish();
  read.finish();
  if (!enableImage) {
    throw new UserError(
      `Cannot open ${SHARDS_TARGET}: expected true for "enable_image", as nothing but images is read, found false`,
    );
  }
  return await openShards({ ...options, ...selection });
}

function takeAugmentation(read: Params): { randomCrop: boolean; horizontalFlip: boolean } {
  return {
    randomCrop: read.take("random_crop", isBoolean) ?? false,
    horizontalFlip: read.take("horizontal_flip", isBoolean) ?? false,
  };
}

function entryOf(name: string): Exclude<DatasetSpec, string> {
  if (name === "openmoji") return { target: OPENMOJI_TARGET };
  const target = name.toLowerCase().endsWith(".npz") ? NPZ_TARGET : IMAGE_FOLDER_TARGET;
  return { target, params: { path: name } };
}

/** What a parameter must be, with its name for messages. */
interface Check<T> {
  readonly expected: string;
  readonly accepts: (value: unknown) => value is T;
}

const isString: Check<string> = {
  expected: "a text",
  accepts: (value): value is string => typeof value === "string" && value !== "",
};
const isBoolean: Check<boolean> = {
  expected: "true or false",
  accepts: (value): value is boolean => typeof value === "boolean",
};
const isCount: Check<number> = {
  expected: "a whole number of at least 0",
  accepts: (value): value is number => Number.isSafeInteger(value) && Number(value) >= 0,
};

const isPart: Check<Split | "all"> = {
  expected: "train, validation or all",
  accepts: (value): value is Split | "all" =>
    value === "train" || value === "validation" || value === "all",
};
const isTexts: Check<readonly string[]> = {
  expected: "a list of texts",
  accepts: (value): value is readonly string[] =>
    Array.isArray(value) && value.every((item) => typeof item === "string" && item !== ""),
};
const isMapping: Check<Readonly<Record<string, unknown>>> = {
  expected: "a mapping",
  accepts: (value): value is Readonly<Record<string, unknown>> =>
    typeof value === "object" && value !== null && !Array.isArray(value),
};

/** Takes parameters one by one and refuses what is left. */
class Params {
  readonly #target: string;
  readonly #left: Map<string, unknown>;
  readonly #known: string[] = [];

  constructor(target: string, params: Readonly<Record<string, unknown>>) {
    this.#target = target;
    this.#left = new Map(Object.entries(params));
  }

  /** The parameter's value, undefined where it is absent or null. */
  take<T>(key: string, check: Check<T>): T | undefined {
    this.#known.push(key);
    const value = this.#left.get(key);
    this.#left.delete(key);
    if (value === undefined || value === null) return undefined;
    if (check.accepts(value)) return value;
    throw new UserError(
      `Cannot open ${this.#target}: expected ${check.expected} for "${key}", found ` +
        JSON.stringify(value),
    );
  }

  /** The parameter's value, which must be there. */
  require<T>(key: string, check: Check<T>): T {
    const value = this.take(key, check);
    if (value !== undefined) return value;
    throw new UserError(`Cannot open ${this.#target}: expected the parameter "${key}", found none`);
  }

  /** The parameters below a key. */
  nested(key: string): Params {
    return new Params(this.#target, this.take(key, isMapping) ?? {});
  }

  finish(): void {
    const [unknown] = this.#left.keys();
    if (unknown === undefined) return;
    throw new UserError(
      `Cannot open ${this.#target}: expected only the parameters ${this.#known.join(", ")}, ` +
        `found "${unknown}"`,
    );
  }
}

/** Opens the data set that a configuration or a command line names. @module */

import { UserError } from "../errors.ts";
import type { Dataset, Split } from "./dataset.ts";
import { openImageFolder } from "./folder.ts";
import { openOpenMoji } from "./openmoji.ts";

/** The configuration's name of the embedded data set. */
export const OPENMOJI_TARGET = "tessera.data.OpenMoji";

/** The configuration's name of a folder of images. */
export const IMAGE_FOLDER_TARGET = "tessera.data.ImageFolder";

/**
 * Names a data set: `"openmoji"`, the path of a folder of images, or an entry of a configuration.
 *
 * Parameters of `tessera.data.OpenMoji`: `horizontal_flip`, `cache_dir`. Of `tessera.data.ImageFolder`: `path`
 * (required), `random_crop`, `horizontal_flip`, `cache_bytes`.
 */
export type DatasetSpec = string | {
  /** {@linkcode OPENMOJI_TARGET} or {@linkcode IMAGE_FOLDER_TARGET}. */
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
  /** Receives the one line that counts skipped files. */
  readonly warn: (message: string) => void;
  /** Number of decoding workers, 0 for none; by default one core stays free. */
  readonly workers?: number;
}

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
  const read = new Params(target, params);
  const { resolution, split, warn, workers } = options;
  if (target === OPENMOJI_TARGET) {
    const cacheDirectory = read.take("cache_dir", isString);
    const horizontalFlip = read.take("horizontal_flip", isBoolean) ?? false;
    read.finish();
    return await openOpenMoji({
      resolution,
      split,
      horizontalFlip,
      ...(cacheDirectory === undefined ? {} : { cacheDirectory }),
    });
  }
  if (target === IMAGE_FOLDER_TARGET) {
    const path = read.take("path", isString);
    const randomCrop = read.take("random_crop", isBoolean) ?? false;
    const horizontalFlip = read.take("horizontal_flip", isBoolean) ?? false;
    const cacheBytes = read.take("cache_bytes", isCount);
    read.finish();
    if (path === undefined) {
      throw new UserError(`Cannot open ${target}: expected the parameter "path", found none`);
    }
    return openImageFolder(path, {
      resolution,
      split,
      warn,
      randomCrop,
      horizontalFlip,
      ...(workers === undefined ? {} : { workers }),
      ...(cacheBytes === undefined ? {} : { cacheBytes }),
    });
  }
  throw new UserError(
    `Cannot open the data set ${target}: expected "${OPENMOJI_TARGET}" or "${IMAGE_FOLDER_TARGET}"`,
  );
}

function entryOf(name: string): Exclude<DatasetSpec, string> {
  return name === "openmoji"
    ? { target: OPENMOJI_TARGET }
    : { target: IMAGE_FOLDER_TARGET, params: { path: name } };
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

  finish(): void {
    const [unknown] = this.#left.keys();
    if (unknown === undefined) return;
    throw new UserError(
      `Cannot open ${this.#target}: expected only the parameters ${this.#known.join(", ")}, ` +
        `found "${unknown}"`,
    );
  }
}

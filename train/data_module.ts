/** Opens the data sets that a configuration names. @module */

import type { DataModuleConfig, DatasetConfig } from "./config/mod.ts";
import type { Dataset, Split } from "./data/dataset.ts";
import { type DatasetSpec, openDataset } from "./data/open.ts";
import { UserError } from "./errors.ts";

/** How {@linkcode openSplit} opens. */
export interface OpenSplitOptions {
  /** Which part. */
  readonly split: Split;
  /** Width and height of the images in pixels. */
  readonly resolution: number;
  /** Receives warnings, such as the number of broken files. */
  readonly warn: (message: string) => void;
}

/**
 * Opens one split of the configured data.
 *
 * @param data The configuration's data.
 * @param options Which split, at which size.
 * @returns The data set; dispose it.
 * @throws {UserError} If it does not exist, is empty, or is of a kind that this command cannot read.
 */
export async function openSplit(
  data: DataModuleConfig,
  options: OpenSplitOptions,
): Promise<Dataset> {
  const { split, resolution, warn } = options;
  const config = split === "train" ? data.train : data.validation ?? data.train;
  return await openDataset(specOf(config), {
    resolution,
    split: "split" in config.params ? config.params.split : split,
    warn,
    ...(data.numWorkers !== null && { workers: data.numWorkers }),
  });
}

function specOf(config: DatasetConfig): DatasetSpec {
  switch (config.target) {
    case "tessera.data.OpenMoji":
      return {
        target: config.target,
        params: { "horizontal_flip": config.params.horizontalFlip },
      };
    case "tessera.data.ImageFolder":
      return {
        target: config.target,
        params: {
          path: config.params.path,
          "horizontal_flip": config.params.horizontalFlip,
          "random_crop": config.params.randomCrop,
        },
      };
    default:
      throw new UserError(
        `Cannot open the data set: expected target tessera.data.OpenMoji or tessera.data.ImageFolder, found ${config.target}`,
      );
  }
}

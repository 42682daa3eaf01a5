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
 * @throws {UserError} If it does not exist, is empty, or cannot be read.
 */
export async function openSplit(
  data: DataModuleConfig,
  options: OpenSplitOptions,
): Promise<Dataset> {
  const { split, resolution, warn } = options;
  const config = split === "train" ? data.train : data.validation;
  if (config === null) {
    throw new UserError(
      `Cannot open images for validation: expected data.init_args.validation, as ${data.train.target} has no part that is ` +
        `held out, found none`,
    );
  }
  return await openDataset(specOf(config), {
    resolution,
    split: config.target !== "tessera.data.Npz" && "split" in config.params
      ? config.params.split
      : split,
    warn,
    // The reference's configurations ask for 16 workers; more of them than cores only take time to start and memory.
    ...(data.numWorkers !== null && {
      workers: Math.min(data.numWorkers, navigator.hardwareConcurrency),
    }),
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
    case "tessera.data.Npz":
      return {
        target: config.target,
        params: {
          path: config.params.path,
          split: config.params.split,
          "horizontal_flip": config.params.horizontalFlip,
          "random_crop": config.params.randomCrop,
        },
      };
    case "tessera.data.ImageNetTrain":
    case "tessera.data.ImageNetValidation": {
      const { root, subset, subIndices, originalReso, randomCrop } = config.params.config;
      return {
        target: config.target,
        params: {
          config: {
            root,
            subset,
            "sub_indices": subIndices,
            "original_reso": originalReso,
            "random_crop": randomCrop,
          },
        },
      };
    }
    case "tessera.data.WebDataset": {
      const { dataDir, imageKey, enableImage, filterPath, sampleJsonPath, ...lists } =
        config.params.config;
      return {
        target: config.target,
        params: {
          config: {
            "data_dir": dataDir,
            "image_key": imageKey,
            "enable_image": enableImage,
            "filter_path": filterPath,
            "sample_json_path": sampleJsonPath,
            "sample_coco_urls": lists.sampleCocoUrls,
            "sample_hd_urls": lists.sampleHdUrls,
          },
        },
      };
    }
  }
}

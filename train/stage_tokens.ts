/** The tokens that stage II learns, as a run's configuration asks for them. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { batchSizeOf, type LoadedConfig, type TransformerRunConfig } from "./config/mod.ts";
import type { Reporter } from "./log.ts";
import type { StageFolder } from "./run_folder.ts";
import {
  cacheTokens,
  type CacheTokensOptions,
  EncodingStopped,
  imagesAtOnce,
  type TokenCache,
} from "./tokenize.ts";

/** What {@linkcode stageTokens} encodes. */
export interface StageTokensOptions
  extends Pick<CacheTokensOptions, "tokenizer" | "model" | "checkpoint" | "train" | "validation"> {
  /** Device, what ends the encoding, and who is told. */
  readonly context: {
    readonly gpu: Gpu;
    readonly signal: AbortSignal;
    readonly reporter: Reporter;
  };
  /** The run. */
  readonly config: TransformerRunConfig;
  /** Files of the stage: tokens go there unless the configuration names a folder. */
  readonly folder: StageFolder;
}

/**
 * Opens the tokens of a run's data, encoding first what is missing, and says how far that is at each tenth.
 *
 * @param options Configuration, tokenizer, images.
 * @returns The tokens, or undefined if the signal came first.
 * @throws {UserError} If no image can be read, or the tokens cannot be written.
 */
export async function stageTokens(options: StageTokensOptions): Promise<TokenCache | undefined> {
  const { context: { gpu, signal, reporter }, config, folder, ...content } = options;
  const { tokenCache, tokenViews } = config.data.params;
  let said = 0;
  try {
    return await cacheTokens({
      ...content,
      gpu,
      // A batch of tokens may be many more images than the tokenizer encodes at once in any memory.
      batchSize: Math.min(batchSizeOf(config), imagesAtOnce(content.train.resolution)),
      folder: tokenCache ?? folder.tokensFolder,
      views: tokenViews,
      signal,
      onEncode: (images) => reporter.info(`encoding ${images} images into tokens`),
      onProgress: (done, images) => {
        const tenth = Math.floor(10 * done / images);
        if (tenth > said && done < images) reporter.info(`${done} of ${images} images encoded`);
        said = tenth;
      },
    });
  } catch (error) {
    if (error instanceof EncodingStopped) return undefined;
    throw error;
  }
}

/**
 * Names options of the images that cached tokens leave without effect.
 *
 * @param loaded The configuration.
 * @returns A warning, or none.
 */
export function idleDataOptions({ config, file }: LoadedConfig<TransformerRunConfig>): string[] {
  const { train, tokenViews } = config.data.params;
  const params = "config" in train.params ? train.params.config : train.params;
  const idle = [
    "horizontalFlip" in params && params.horizontalFlip && tokenViews === "one" &&
    "horizontal_flip",
    "randomCrop" in params && params.randomCrop && tokenViews !== "ten_crops" && "random_crop",
  ].filter((name) => name !== false);
  return idle.length === 0 ? [] : [
    `No ${
      idle.join(", no ")
    } in stage II, which is asked for by ${file}: each image is encoded into tokens once; data.init_args.token_views takes flips or ten_crops`,
  ];
}

/** The tokens that stage II learns, as a run's configuration asks for them. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { batchSizeOf, type LoadedConfig, type TransformerRunConfig } from "./config/mod.ts";
import { EncodedBatches } from "./encoded_batches.ts";
import { imagesAtOnce } from "./images_at_once.ts";
import type { Reporter } from "./log.ts";
import type { StageFolder } from "./run_folder.ts";
import {
  cacheSplits,
  type CacheTokensOptions,
  EncodingStopped,
  type SplitTokens,
} from "./tokenize.ts";
import { TokenBatches, type TokenSource, type TrainingTokens } from "./tokens.ts";

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

/** The tokens of a run. Disposing it closes files and drops what was loaded ahead. */
export interface StageTokens extends Disposable {
  /** For training. */
  readonly train: TrainingTokens;
  /** Held out. */
  readonly validation: TokenSource;
  /** Tokens of an epoch, in all views. */
  readonly tokens: number;
}

/**
 * Opens the tokens of a run's data, encoding first what is missing, and says how far that is at each tenth.
 *
 * @param options Configuration, tokenizer, images.
 * @returns The tokens, or undefined if the signal came first.
 * @throws {UserError} If no image can be read, the tokens cannot be written, or there are fewer images than one batch.
 */
export async function stageTokens(options: StageTokensOptions): Promise<StageTokens | undefined> {
  const { context: { gpu }, config, tokenizer, train } = options;
  const { tokenViews } = config.data.params;
  const order = { batchSize: batchSizeOf(config), seed: config.seedEverything };
  const validation = { dataset: options.validation, views: "one" } as const;
  if (tokenViews === "random") {
    const cached = await cachedSplits(options, [validation]);
    if (!cached) return undefined;
    const encoded = new EncodedBatches(train, { ...order, gpu, tokenizer });
    return {
      train: encoded,
      validation: cached.stores[0]!,
      tokens: train.length * cached.tokensPerImage,
      [Symbol.dispose]: () => {
        encoded[Symbol.dispose]();
        cached[Symbol.dispose]();
      },
    };
  }
  const cached = await cachedSplits(options, [{ dataset: train, views: tokenViews }, validation]);
  const [source, heldOut] = cached?.stores ?? [];
  if (!cached || !source || !heldOut) return undefined;
  return {
    train: new TokenBatches(source, order),
    validation: heldOut,
    tokens: source.labels.length * source.views * cached.tokensPerImage,
    [Symbol.dispose]: () => cached[Symbol.dispose](),
  };
}

async function cachedSplits(
  options: StageTokensOptions,
  splits: Parameters<typeof cacheSplits>[1],
): Promise<SplitTokens | undefined> {
  const { context: { gpu, signal, reporter }, config, folder, ...content } = options;
  let said = 0;
  try {
    return await cacheSplits({
      ...content,
      gpu,
      // A batch of tokens may be many more images than the tokenizer encodes at once in any memory.
      batchSize: Math.min(batchSizeOf(config), imagesAtOnce(content.train.resolution)),
      folder: config.data.params.tokenCache ?? folder.tokensFolder,
      signal,
      onEncode: (images) => reporter.info(`encoding ${images} images into tokens`),
      onProgress: (done, images) => {
        const tenth = Math.floor(10 * done / images);
        if (tenth > said && done < images) reporter.info(`${done} of ${images} images encoded`);
        said = tenth;
      },
    }, splits);
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
  if (tokenViews === "random") return [];
  const params = "config" in train.params ? train.params.config : train.params;
  const idle = [
    "horizontalFlip" in params && params.horizontalFlip && tokenViews === "one" &&
    "horizontal_flip",
    "randomCrop" in params && params.randomCrop && tokenViews !== "ten_crops" && "random_crop",
  ].filter((name) => name !== false);
  return idle.length === 0 ? [] : [
    `No ${
      idle.join(", no ")
    } in stage II, which is asked for by ${file}: each image is encoded into tokens once; data.init_args.token_views takes flips, ten_crops or random`,
  ];
}

/** `deno task evaluate`: the numbers that a run is judged by. @module */

import { CompileAhead } from "../compile_ahead.ts";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { imageSize } from "../config/mod.ts";
import type { Dataset } from "../data/dataset.ts";
import { openSplit } from "../data_module.ts";
import { batchesOf, reconstructImages, sampleBatches } from "../drawing.ts";
import { UserError } from "../errors.ts";
import { imagesAtOnce } from "../images_at_once.ts";
import { printResult, type Reporter } from "../log.ts";
import {
  ClassMeans,
  type LabeledImage,
  peakSignalToNoise,
  unigramCrossEntropy,
  unigramEntropy,
} from "../measures.ts";
import { openGpu } from "../open_gpu.ts";
import { type ModelSelection, selectModels } from "../model_sources.ts";
import { openTokenizer, openTransformer } from "../open_models.ts";
import { profileBatches, type ProfileRequest } from "../profile_session.ts";
import { cacheTokens } from "../tokenize.ts";
import { evaluateTokens } from "../transformer_learner.ts";

/** What the command line says. */
export interface EvaluateCommand extends ModelSelection {
  /** Samples of each class that are compared with the class means. */
  readonly samplesPerClass: number;
  /** Classifier-free guidance of those samples. */
  readonly guidance: number;
  /** Seed of the first sample. */
  readonly seed: number;
  /** Whether and how to profile. */
  readonly profile: ProfileRequest | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Where tokens are kept of models that belong to no run. */
const SHARED_TOKENS = fileURLToPath(new URL("../../.cache/tokens", import.meta.url));

/** Images whose tokens are measured at once. */
const TOKENS_BATCH = 32;

/**
 * Measures the newest run on the validation split.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If there is no such run.
 */
export async function runEvaluate(command: EvaluateCommand): Promise<number> {
  const { reporter, samplesPerClass, seed, guidance } = command;
  const { run, ...models } = await selectModels(command);
  const measured = run ? `run ${run.path}` : models.transformer.checkpoint;
  const say = (line: string): void => reporter.info(line);
  using ahead = new CompileAhead();
  using gpu = await openGpu(ahead);
  const openedTokenizer = await openTokenizer(gpu, models.tokenizer, { say });
  using tokenizer = openedTokenizer.tokenizer;
  const openedTransformer = await openTransformer(gpu, models.transformer, { say });
  using transformer = openedTransformer.transformer;
  const resolution = imageSize(openedTransformer.config, openedTokenizer.params);
  const warn = (message: string): void => reporter.warn(message);
  const data = openedTransformer.config.data.params;
  using train = await openSplit(data, { split: "train", resolution, warn });
  using validation = await openSplit(data, { split: "validation", resolution, warn });
  const known = openedTransformer.classNames;
  // Checkpoints of others count their classes, without names.
  const counted = known.every((name, i) => name === String(i));
  if (
    counted ? train.classNames.length !== known.length : train.classNames.join() !== known.join()
  ) {
    throw new UserError(
      `Cannot evaluate ${measured}: expected the classes that it was trained on, ${
        known.join(", ")
      }, found ${train.classNames.join(", ")}`,
    );
  }
  printResult(`${measured} on ${gpu.adapter.name}`);

  using means = await ClassMeans.of(imagesByClass(train), resolution * resolution * 3);
  const mean = means.overall();
  const reconstruction = await measureReconstruction({ gpu, tokenizer }, validation, mean);
  const { nEmbed } = openedTokenizer.params;
  printResult(`reconstruction            ${reconstruction.decibels.toFixed(2)} dB PSNR`);
  printResult(`mean training image       ${reconstruction.meanDecibels.toFixed(2)} dB PSNR`);
  printResult(
    `codes used                ${(100 * reconstruction.used / nEmbed).toFixed(1)} % of ${nEmbed}`,
  );

  using cache = await cacheTokens({
    gpu,
    tokenizer,
    model: openedTokenizer.params,
    checkpoint: openedTokenizer.checkpoint,
    train,
    validation,
    batchSize: imagesAtOnce(resolution),
    folder: data.tokenCache ?? run?.stage("transformer").tokensFolder ?? SHARED_TOKENS,
    views: data.tokenViews === "random" ? "one" : data.tokenViews,
  });
  let sum = 0;
  for (let start = 0; start < validation.length; start += TOKENS_BATCH) {
    const size = Math.min(TOKENS_BATCH, validation.length - start);
    const images = Array.from({ length: size }, (_, i) => start + i);
    const batch = cache.validation.take(images);
    sum += size * await evaluateTokens(gpu, transformer, batch);
  }
  const loss = sum / validation.length;
  const entropy = unigramEntropy(cache.validation.counts());
  const cross = unigramCrossEntropy(cache.train.counts(), cache.validation.counts());
  printResult(`stage-II validation loss  ${loss.toFixed(4)} nats a token`);
  printResult(
    `unigram entropy           ${entropy.toFixed(4)} nats a token (training frequencies: ${
      cross.toFixed(4)
    }); the loss is ${(100 * (1 - loss / entropy)).toFixed(1)} % under it`,
  );

  const classes = train.classNames.flatMap((_, label) =>
    new Array<number>(samplesPerClass).fill(label)
  );
  const batches = [
    ...batchesOf({ classes, seeds: classes.map((_, i) => seed + i) }, imagesAtOnce(resolution)),
  ];
  const profile = profileBatches(gpu, command.profile, {
    batches: batches.length,
    path: join(run?.path ?? ".", "profile-evaluation.json"),
    say: (text) => reporter.info(text),
  });
  let hits = 0;
  let done = 0;
  const sampled = sampleBatches({ gpu, transformer, tokenizer }, batches, { guidance });
  for await (const { pixels } of sampled) {
    const own = classes.slice(done, done + imagesAtOnce(resolution));
    hits += means.countNearest(pixels, own);
    done += own.length;
    reporter.info(`${done} of ${classes.length} samples`);
    await profile?.step();
  }
  await profile?.finish();
  const share = hits / classes.length;
  const chance = 1 / train.classNames.length;
  printResult(
    `samples nearest own class ${(100 * share).toFixed(1)} % of ${classes.length}, ${
      (share / chance).toFixed(2)
    } times chance (${(100 * chance).toFixed(1)} %), guidance ${guidance}`,
  );
  return 0;
}

async function measureReconstruction(
  models: Parameters<typeof reconstructImages>[0],
  validation: Dataset,
  mean: Float32Array,
): Promise<{ decibels: number; meanDecibels: number; used: number }> {
  const used = new Set<number>();
  let decibels = 0;
  let meanDecibels = 0;
  const { length } = validation;
  const numbers = Array.from({ length }, (_, i) => i);
  for await (const { images, indices } of loadBatches(validation, numbers)) {
    const count = indices.length;
    const { pixels, tokens } = await reconstructImages(models, images, validation.resolution);
    decibels += count * peakSignalToNoise(images, pixels, count);
    const repeated = new Float32Array(images.length);
    for (let i = 0; i < count; i++) repeated.set(mean, i * mean.length);
    meanDecibels += count * peakSignalToNoise(images, repeated, count);
    for (const token of tokens) used.add(token);
  }
  return { decibels: decibels / length, meanDecibels: meanDecibels / length, used: used.size };
}

/** Images of a data set, class by class; files that cannot be read are left out. */
async function* imagesByClass(dataset: Dataset): AsyncGenerator<LabeledImage> {
  const labels = Uint32Array.from({ length: dataset.length }, (_, i) => dataset.label(i));
  const order = Uint32Array.from(labels, (_, i) => i).sort((a, b) => labels[a]! - labels[b]!);
  for await (const { images, wanted, indices } of loadBatches(dataset, order)) {
    const size = images.length / wanted.length;
    for (const [i, index] of wanted.entries()) {
      // Another one took the place of a broken file.
      if (indices[i] !== index) continue;
      yield { label: labels[index]!, pixels: images.subarray(i * size, (i + 1) * size) };
    }
  }
}

/** Loads images in a given order, as many at a time as memory is meant to hold. */
async function* loadBatches(
  dataset: Dataset,
  order: ArrayLike<number>,
): AsyncGenerator<{ images: Float32Array; wanted: number[]; indices: ArrayLike<number> }> {
  const most = imagesAtOnce(dataset.resolution);
  for (let start = 0; start < order.length; start += most) {
    const size = Math.min(most, order.length - start);
    const wanted = Array.from({ length: size }, (_, i) => order[start + i]!);
    yield { wanted, ...await dataset.load(wanted) };
  }
}

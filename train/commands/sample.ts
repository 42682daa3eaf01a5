/** `deno task sample`: a labeled contact sheet of sampled images. @module */

import { join } from "node:path";
import type { Gpu } from "../../kernels/gpu.ts";
import { packForSampling } from "../../models/sampler.ts";
import { CompileAhead } from "../compile_ahead.ts";
import { sampleImages, toPictures, writeSheet } from "../drawing.ts";
import { UserError } from "../errors.ts";
import { printResult, type Reporter } from "../log.ts";
import { openGpu } from "../open_gpu.ts";
import { type ModelSelection, selectModels } from "../model_sources.ts";
import { openTokenizer, openTransformer } from "../open_models.ts";
import { profileBatches, type ProfileRequest } from "../profile_session.ts";

/** What the command line says. */
export interface SampleCommand extends ModelSelection {
  /** Classes by name or number, separated by commas; undefined for all. */
  readonly classes: string | undefined;
  /** Images of each class. */
  readonly perClass: number;
  /** Classifier-free guidance; 1 or less is none. */
  readonly guidance: number;
  /** Divides the logits. */
  readonly temperature: number;
  /** Choose among so many tokens; 0 for all. */
  readonly topK: number;
  /** Choose among the likeliest tokens of this total probability. */
  readonly topP: number;
  /** Seed of the first image. */
  readonly seed: number;
  /** Images at once. */
  readonly batchSize: number;
  /** Type in which the transformer's weights are kept. */
  readonly precision: "f32" | "f16";
  /** Type in which keys and values are kept. */
  readonly cacheType: "f32" | "f16";
  /** The picture. */
  readonly out: string | undefined;
  /** Whether and how to profile. */
  readonly profile: ProfileRequest | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/**
 * Samples.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If there is no such run or class, or the picture cannot be written.
 */
export async function runSample(command: SampleCommand): Promise<number> {
  const { reporter, perClass, seed } = command;
  const models = await selectModels(command);
  const folder = models.run?.path ?? ".";
  using ahead = new CompileAhead();
  using gpu = await openGpu(ahead);
  requireTypes(gpu, command);
  const say = (line: string): void => reporter.info(line);
  const { transformer: opened, classNames } = await openTransformer(gpu, models.transformer, {
    precision: command.precision,
    say,
  });
  using transformer = opened;
  const { tokenizer: openedTokenizer } = await openTokenizer(gpu, models.tokenizer, { say });
  using tokenizer = openedTokenizer;
  const labels = selectClasses(command.classes, classNames);
  const classes = labels.flatMap((label) => new Array<number>(perClass).fill(label));
  packForSampling(transformer, {
    images: Math.min(command.batchSize, classes.length),
    guidance: command.guidance,
  });
  reporter.info(
    `sampling ${classes.length} images of ${
      models.run?.path ?? models.transformer.checkpoint
    } on ${gpu.adapter.name}`,
  );
  const profile = profileBatches(gpu, command.profile, {
    batches: Math.ceil(classes.length / command.batchSize),
    path: join(folder, "profile-sampling.json"),
    say: (text) => reporter.info(text),
  });
  const images = await sampleImages({ gpu, transformer, tokenizer }, {
    classes,
    seeds: classes.map((_, i) => seed + i),
    guidance: command.guidance,
    temperature: command.temperature,
    topK: command.topK,
    topP: command.topP,
    batchSize: command.batchSize,
    cacheType: command.cacheType,
    onProgress: async (done) => {
      reporter.info(`${done} of ${classes.length} images`);
      await profile?.step();
    },
  });
  await profile?.finish();
  const pictures = toPictures(images);
  const path = command.out ?? join(folder, "samples.png");
  const rows = labels.map((label, i) => ({
    label: classNames[label]!,
    images: pictures.slice(i * perClass, (i + 1) * perClass),
  }));
  await writeSheet(path, rows, {
    title:
      `Samples, guidance ${command.guidance}, temperature ${command.temperature}, seed ${seed}`,
  });
  printResult(path);
  return 0;
}

/**
 * Checks that the adapter has the wanted types.
 *
 * @param gpu The device.
 * @param types Types of weights, and of keys and values.
 * @throws {UserError} If one is f16 and the adapter has no f16.
 */
export function requireTypes(
  gpu: Pick<Gpu, "adapter" | "features">,
  types: Pick<SampleCommand, "precision" | "cacheType">,
): void {
  const option = types.precision === "f16" ? "precision" : "kv-cache";
  if ((types.precision === "f32" && types.cacheType === "f32") || gpu.features.has("shader-f16")) {
    return;
  }
  throw new UserError(
    `Cannot sample with --${option} f16: expected an adapter that computes with f16 (feature shader-f16), found ${gpu.adapter.name} without; use --precision f32`,
  );
}

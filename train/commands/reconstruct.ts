/** `deno task reconstruct`: images beside their reconstructions. @module */

import { join } from "node:path";
import { CompileAhead } from "../compile_ahead.ts";
import {
  type DataModuleConfig,
  downsamplingFactor,
  imageSize,
  type TokenizerConfig,
  type TokenizerRunConfig,
} from "../config/mod.ts";
import { prepareFile } from "../data/prepare.ts";
import { openSplit } from "../data_module.ts";
import { type DecodedImages, reconstructImages, toPictures, writeSheet } from "../drawing.ts";
import { UserError } from "../errors.ts";
import { samplesToUnit } from "../image/resize.ts";
import { printResult, type Reporter } from "../log.ts";
import { peakSignalToNoise } from "../measures.ts";
import { openGpu } from "../open_gpu.ts";
import { type ModelSelection, selectTokenizer } from "../model_sources.ts";
import { openTokenizer } from "../open_models.ts";
import { profileBatches, type ProfileRequest } from "../profile_session.ts";

/** What the command line says. */
export interface ReconstructCommand extends ModelSelection {
  /** Image files; none for the validation split. */
  readonly images: readonly string[];
  /** Images of the validation split. */
  readonly count: number;
  /** The picture. */
  readonly out: string | undefined;
  /** Whether and how to profile. */
  readonly profile: ProfileRequest | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Pairs of images in one row of the sheet. */
const PAIRS_IN_A_ROW = 8;
/** Images reconstructed at once, at most. */
const BATCH_SIZE = 32;
/** Bytes of the distances from the tokens of a batch to all codes, where the nearest code is chosen. */
const DISTANCE_BYTES = 2 ** 27;

/**
 * Reconstructs.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If there is no such run, or an image cannot be read.
 */
export async function runReconstruct(command: ReconstructCommand): Promise<number> {
  const { reporter } = command;
  const { source, run } = await selectTokenizer(command);
  using ahead = new CompileAhead();
  using gpu = await openGpu(ahead);
  const { tokenizer: opened, params, config } = await openTokenizer(gpu, source, {
    say: (line) => reporter.info(line),
  });
  using tokenizer = opened;
  const resolution = config ? imageSize(config, params) : params.ddconfig.resolution;
  const images = command.images.length > 0
    ? await readImages(command.images, resolution)
    : await validationImages(command, { data: dataOf(config), resolution });
  const folder = run?.path ?? ".";
  const count = images.pixels.length / (resolution * resolution * 3);
  const reconstructions = { pixels: new Float32Array(images.pixels.length), resolution };
  const batchImages = batchImagesOf(params, resolution);
  const batchSize = batchImages * resolution * resolution * 3;
  const profile = profileBatches(gpu, command.profile, {
    batches: Math.ceil(count / batchImages),
    path: join(folder, "profile-reconstruction.json"),
    say: (text) => reporter.info(text),
  });
  for (let start = 0; start < images.pixels.length; start += batchSize) {
    const batch = images.pixels.subarray(start, start + batchSize);
    const { pixels } = await reconstructImages({ gpu, tokenizer }, batch, resolution);
    reconstructions.pixels.set(pixels, start);
    await profile?.step();
  }
  await profile?.finish();
  const [before, after] = [toPictures(images), toPictures(reconstructions)];
  const rows = [];
  for (let start = 0; start < count; start += PAIRS_IN_A_ROW) {
    const end = start + PAIRS_IN_A_ROW;
    rows.push({ label: "images", images: before.slice(start, end) });
    rows.push({ label: "reconstructions", images: after.slice(start, end) });
  }
  const path = command.out ?? join(folder, "reconstructions.png");
  const decibels = peakSignalToNoise(images.pixels, reconstructions.pixels, count);
  await writeSheet(path, rows, { title: `Reconstructions, ${decibels.toFixed(2)} dB` });
  reporter.info(`${count} images, ${decibels.toFixed(2)} dB`);
  printResult(path);
  return 0;
}

/** Images at once: the nearest code is found among distances to all of them, which are held in memory. */
function batchImagesOf(params: TokenizerConfig, resolution: number): number {
  if (params.quantizer === "index") return BATCH_SIZE;
  const tokens = (resolution / downsamplingFactor(params.ddconfig)) ** 2;
  const images = Math.floor(DISTANCE_BYTES / (4 * tokens * params.nEmbed));
  return Math.min(BATCH_SIZE, Math.max(1, images));
}

/** The images that a configuration names. */
function dataOf(config: TokenizerRunConfig | null): DataModuleConfig {
  if (config) return config.data.params;
  throw new UserError(
    "Cannot reconstruct: expected image files, as the configuration of a transformer names no images for its tokenizer, found none",
  );
}

async function readImages(paths: readonly string[], resolution: number): Promise<DecodedImages> {
  const size = resolution * resolution * 3;
  const pixels = new Float32Array(paths.length * size);
  for (const [i, path] of paths.entries()) {
    const outcome = await prepareFile({ path, resolution });
    if ("reason" in outcome) {
      throw new UserError(
        `Cannot read image ${path}: expected a PNG or JPEG file, found that ${outcome.reason}`,
      );
    }
    samplesToUnit(outcome.pixels, pixels.subarray(i * size, (i + 1) * size));
  }
  return { pixels, resolution };
}

async function validationImages(
  command: ReconstructCommand,
  options: { data: Parameters<typeof openSplit>[0]; resolution: number },
): Promise<DecodedImages> {
  using dataset = await openSplit(options.data, {
    split: "validation",
    resolution: options.resolution,
    warn: (message) => command.reporter.warn(message),
  });
  const count = Math.min(command.count, dataset.length);
  const { images } = await dataset.load(Array.from({ length: count }, (_, i) => i));
  return { pixels: images, resolution: options.resolution };
}

/** Samples as the reference's `generate.py` writes them: a PNG an image in a folder a class, and a sheet of all. @module */

import { join } from "node:path";
import { batchesOf, sampleBatches, type SamplingModels, writeSheet } from "../drawing.ts";
import { writeFileAtomically } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { encodePng, type RgbImage } from "../image/codec.ts";
import { unitToTruncatedSamples } from "../image/samples.ts";
import type { Reporter } from "../log.ts";
import { classTitle } from "./classes.ts";
import { MOST_SHEET_PIXELS } from "./pair_sheet.ts";
import type { SamplePreset } from "./sample_settings.ts";

/** What {@linkcode samplePictures} draws and how. */
export interface PicturesOptions extends SamplePreset {
  /** Numbers of the classes. */
  readonly labels: readonly number[];
  /** Names of all classes. */
  readonly classNames: readonly string[];
  /** Seed of the first image; the others count on. */
  readonly seed: number;
  /** Images at once. */
  readonly batchSize: number;
  /** Type in which keys and values are kept. */
  readonly cacheType: "f32" | "f16";
  /** Folder of the folders of classes. */
  readonly folder: string;
  /** The sheet. */
  readonly sheet: string;
  /** Called behind each batch. */
  readonly onBatch?: () => Promise<void> | void;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/**
 * Draws images class by class and writes `{class}/{number}.png`, and a sheet with a row a class if they are few enough for one.
 *
 * @param models Transformer and tokenizer.
 * @param options What is drawn and how.
 * @returns Paths of what was written: the sheet, if there is one, and the folder.
 * @throws {UserError} If a file cannot be written.
 */
export async function samplePictures(
  models: SamplingModels,
  options: PicturesOptions,
): Promise<string[]> {
  const { labels, classNames, perClass, seed, batchSize, folder, sheet, reporter } = options;
  const classes = labels.flatMap((label) => new Array<number>(perClass).fill(label));
  const seeds = classes.map((_, i) => seed + i);
  const kept: RgbImage[] = [];
  let done = 0;
  for await (
    const { pixels, resolution } of sampleBatches(
      models,
      batchesOf({ classes, seeds }, batchSize),
      options,
    )
  ) {
    const size = resolution * resolution * 3;
    const samples = unitToTruncatedSamples(pixels);
    for (let start = 0; start < samples.length; start += size, done++) {
      const picture = {
        width: resolution,
        height: resolution,
        pixels: samples.subarray(start, start + size),
      };
      await writePicture(join(folder, String(classes[done])), done % perClass, picture);
      if (classes.length * resolution * resolution <= MOST_SHEET_PIXELS) kept.push(picture);
    }
    reporter.info(`${done} of ${classes.length} images`);
    await options.onBatch?.();
  }
  if (kept.length < classes.length) {
    reporter.info("no sheet: the images are too many for one");
    return [folder];
  }
  const rows = labels.map((label, i) => ({
    label: classTitle(label, classNames),
    images: kept.slice(i * perClass, (i + 1) * perClass),
  }));
  const { guidance, temperature } = options;
  await writeSheet(sheet, rows, {
    title: `Samples, guidance ${guidance}, temperature ${temperature}, seed ${seed}`,
  });
  return [sheet, folder];
}

async function writePicture(folder: string, number: number, picture: RgbImage): Promise<void> {
  await Deno.mkdir(folder, { recursive: true }).catch((cause) => {
    throw fileError(`make the folder ${folder}`, cause);
  });
  const name = `${String(number).padStart(6, "0")}.png`;
  await writeFileAtomically(join(folder, name), encodePng(picture));
}

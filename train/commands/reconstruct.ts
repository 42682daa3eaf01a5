/** `deno task reconstruct`: images of any size beside their reconstructions. @module */

import { dirname, join } from "node:path";
import type { Gpu } from "../../kernels/gpu.ts";
import type { Tokenizer } from "../../models/tokenizer.ts";
import { Tape } from "../../nn/tape.ts";
import { CompileAhead } from "../compile_ahead.ts";
import {
  type DataModuleConfig,
  downsamplingFactor,
  imageSize,
  type TokenizerConfig,
  type TokenizerRunConfig,
} from "../config/mod.ts";
import { openSplit } from "../data_module.ts";
import { toPictures, writeSheet } from "../drawing.ts";
import { UserError } from "../errors.ts";
import { imagesAtOnce, MOST_AT_ONCE } from "../images_at_once.ts";
import { requireFolderOf, writeFileAtomically } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { encodePng, type RgbImage } from "../image/codec.ts";
import { cropFrom, paddingOf, padInto } from "../image/pad.ts";
import { samplesToUnit } from "../image/resize.ts";
import { sampleDecibels, unitToTruncatedSamples } from "../image/samples.ts";
import { printResult, type Reporter } from "../log.ts";
import { openGpu } from "../open_gpu.ts";
import { type ModelSelection, selectTokenizer } from "../model_sources.ts";
import { openTokenizer } from "../open_models.ts";
import { profileBatches, type ProfileRequest } from "../profile_session.ts";
import { listPictures, readPicture } from "./picture_files.ts";
import { PairSheet } from "./pair_sheet.ts";

/** What the command line says. */
export interface ReconstructCommand extends ModelSelection {
  /** Image files and folders; none for the validation split. */
  readonly images: readonly string[];
  /** Most images; of the validation split 16 unless it is said. */
  readonly count: number | undefined;
  /** Width and height to which images are scaled and cut; undefined for their own size. */
  readonly imageSize: number | undefined;
  /** A file that names the images of the folders to take; undefined for all. */
  readonly subset: string | undefined;
  /** Images of equal size at once; undefined for as many as small ones allow. */
  readonly batchSize: number | undefined;
  /** Folder of a picture an image; undefined for none of the validation split, and one in the run for named images. */
  readonly saveFolder: string | undefined;
  /** The sheet. */
  readonly out: string | undefined;
  /** Whether and how to profile. */
  readonly profile: ProfileRequest | undefined;
  /** Where messages go. */
  readonly reporter: Reporter;
}

/** Images of the validation split, unless a number is given. */
const VALIDATION_IMAGES = 16;

/** The validation split of a configuration. */
interface ValidationImages {
  readonly data: DataModuleConfig;
  readonly resolution: number;
  readonly count: number;
}

/** Size of an image in pixels. */
type Size = Pick<RgbImage, "width" | "height">;

/** An image to reconstruct. */
interface Item {
  readonly name: string;
  readonly image: RgbImage;
}

/**
 * Reconstructs. Images keep their size: they are padded to what the tokenizer takes, and the results cut back.
 *
 * @param command What the command line says.
 * @returns Exit code 0.
 * @throws {UserError} If there is no such run, or an image cannot be read.
 * @see SEED-Voken reconstruct_image.py
 */
export async function runReconstruct(command: ReconstructCommand): Promise<number> {
  const { reporter, images } = command;
  if (command.out !== undefined) await requireFolderOf(command.out);
  const { source, run } = await selectTokenizer(command);
  const home = run?.path ?? ".";
  using ahead = new CompileAhead();
  using gpu = await openGpu(ahead);
  const say = (line: string): void => reporter.info(line);
  const { tokenizer: opened, params, config } = await openTokenizer(gpu, source, { say });
  using tokenizer = opened;
  const { ddconfig } = params;
  const align = downsamplingFactor(ddconfig);
  const files = await listPictures(images, { subset: command.subset });
  const count = Math.min(command.count ?? Infinity, files.length || Infinity);
  const items = files.length > 0
    ? fileItems(files.slice(0, count), command)
    : validationItems(validationOf(config, params, command.count), reporter);
  const folder = command.saveFolder ??
    (files.length > 0 ? join(home, "reconstructions") : undefined);
  const profile = profileBatches(gpu, command.profile, {
    // At least so many: sizes are known only when the images are read.
    batches: Math.ceil(
      (Number.isFinite(count) ? count : VALIDATION_IMAGES) / (command.batchSize ?? MOST_AT_ONCE),
    ),
    path: join(home, "profile-reconstruction.json"),
    say,
  });
  const sheet = new PairSheet();
  let decibels = 0;
  for await (
    const batch of batchesOf(
      items,
      ({ width, height }) => command.batchSize ?? imagesAtOnce(width, height),
    )
  ) {
    const reconstructions = await reconstructPictures({ gpu, tokenizer, align }, batch);
    await profile?.step();
    for (const [i, { name, image }] of batch.entries()) {
      const { picture, decibels: own } = reconstructions[i]!;
      decibels += own;
      sheet.add(image, picture);
      if (folder === undefined) continue;
      await writePictures(folder, { name, image, picture, decibels: own, size: command.imageSize });
      reporter.info(`${name}: ${image.width} × ${image.height} pixels, ${own.toFixed(2)} dB`);
    }
  }
  await profile?.finish();
  const { count: done } = sheet;
  if (done === 0) throw new UserError("Cannot reconstruct: expected an image, found none to read");
  const mean = (decibels / done).toFixed(2);
  reporter.info(`${done} images, ${mean} dB`);
  const path = command.out ?? join(home, "reconstructions.png");
  if (sheet.fits) {
    await writeSheet(path, sheet.rows(), { title: `Reconstructions, ${mean} dB` });
    printResult(path);
  } else reporter.info("no sheet: the images are too large or too many for one");
  if (folder !== undefined) printResult(folder);
  return 0;
}

/** The images that a configuration names, and how many of them. */
function validationOf(
  config: TokenizerRunConfig | null,
  params: TokenizerConfig,
  count = VALIDATION_IMAGES,
): ValidationImages {
  if (config) return { data: config.data.params, resolution: imageSize(config, params), count };
  throw new UserError(
    "Cannot reconstruct: expected image files, as the configuration of a transformer names no images for its tokenizer, found none",
  );
}

/** Files in order; of a folder those that cannot be read are passed over with a warning. */
async function* fileItems(
  files: Awaited<ReturnType<typeof listPictures>>,
  { imageSize, reporter }: ReconstructCommand,
): AsyncGenerator<Item> {
  for (const { name, path, named } of files) {
    try {
      yield { name, image: await readPicture(path, imageSize) };
    } catch (error) {
      if (named || !(error instanceof UserError)) throw error;
      reporter.warn(error.message);
    }
  }
}

/** The first images of the validation split, named by their numbers. */
async function* validationItems(
  options: ValidationImages,
  reporter: Reporter,
): AsyncGenerator<Item> {
  const { data, resolution, count } = options;
  const warn = (message: string): void => reporter.warn(message);
  using dataset = await openSplit(data, { split: "validation", resolution, warn });
  for (let start = 0; start < Math.min(count, dataset.length); start += MOST_AT_ONCE) {
    const end = Math.min(count, dataset.length, start + MOST_AT_ONCE);
    const { images } = await dataset.load(Array.from({ length: end - start }, (_, i) => start + i));
    const pictures = toPictures({ pixels: images, resolution });
    for (const [i, image] of pictures.entries()) yield { name: String(start + i), image };
  }
}

/** Groups neighbors of equal size. */
async function* batchesOf(
  items: AsyncIterable<Item>,
  batchSize: (size: Size) => number,
): AsyncGenerator<Item[]> {
  let batch: Item[] = [];
  for await (const item of items) {
    const { width, height } = item.image;
    const most = batchSize({ width, height });
    const first = batch[0]?.image;
    if (first && (first.width !== width || first.height !== height || batch.length >= most)) {
      yield batch;
      batch = [];
    }
    batch.push(item);
  }
  if (batch.length > 0) yield batch;
}

/** Pads images of one size, encodes and decodes them, and cuts the results back. */
async function reconstructPictures(
  { gpu, tokenizer, align }: { gpu: Gpu; tokenizer: Tokenizer; align: number },
  batch: readonly Item[],
): Promise<{ picture: RgbImage; decibels: number }[]> {
  const { width, height } = batch[0]!.image;
  const padding = paddingOf({ width, height }, align);
  const size = padding.width * padding.height * 3;
  const padded = new Float32Array(batch.length * size);
  for (const [i, { image }] of batch.entries()) {
    padInto(image, padding, padded.subarray(i * size, (i + 1) * size));
  }
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(padded, [batch.length, padding.height, padding.width, 3]);
  const pixels = await tokenizer.forward(x).reconstruction.read();
  return batch.map(({ image }, i) => {
    const own = pixels.subarray(i * size, (i + 1) * size);
    const cut = unitToTruncatedSamples(cropFrom(own, padding, { width, height }));
    // As in the reference, the image goes the way of its reconstruction.
    const before = unitToTruncatedSamples(samplesToUnit(image.pixels));
    return {
      picture: { width, height, pixels: cut },
      decibels: sampleDecibels(before, cut),
    };
  });
}

/** Writes image, reconstruction and both side by side, in folders named as the reference names them. */
async function writePictures(
  folder: string,
  result: {
    name: string;
    image: RgbImage;
    picture: RgbImage;
    decibels: number;
    size: number | undefined;
  },
): Promise<void> {
  const { name, image, picture, decibels, size } = result;
  const suffix = size === undefined ? "" : `_${size}`;
  const pathIn = async (part: string): Promise<string> => {
    const path = join(folder, part + suffix, `${name}.png`);
    await Deno.mkdir(dirname(path), { recursive: true }).catch((cause) => {
      throw fileError(`make the folder ${dirname(path)}`, cause);
    });
    return path;
  };
  await writeFileAtomically(await pathIn("original"), encodePng(image));
  await writeFileAtomically(await pathIn("rec"), encodePng(picture));
  await writeSheet(await pathIn("side_by_side"), [{ images: [image, picture] }], {
    columnLabels: ["image", `${decibels.toFixed(2)} dB`],
  });
}

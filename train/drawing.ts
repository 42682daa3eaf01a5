/** Pictures of what the models do: sampled images and reconstructions. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { drawTokens, type GenerateOptions } from "../models/sampler.ts";
import type { Tokenizer } from "../models/tokenizer.ts";
import type { Transformer } from "../models/transformer.ts";
import { split } from "../nn/shape.ts";
import { Tape } from "../nn/tape.ts";
import { writeFileAtomically } from "./files/atomic.ts";
import { encodePng, type RgbImage } from "./image/codec.ts";
import { imagesAtOnce } from "./images_at_once.ts";
import { unitToSamples } from "./image/resize.ts";
import { makeSheet, type SheetOptions, type SheetRow } from "./image/sheet.ts";

/** Images of one call, pixels in [-1, 1]. */
export interface DecodedImages {
  /** Shape (images, resolution, resolution, 3), not clamped. */
  readonly pixels: Float32Array<ArrayBuffer>;
  /** Width and height in pixels. */
  readonly resolution: number;
}

/** What is sampled, and how. */
export interface SampleOptions extends Omit<GenerateOptions, "onProgress"> {
  /** Images at once; a setting of memory, it changes no image. */
  readonly batchSize: number;
}

/** A tokenizer and a transformer that knows its tokens. */
export interface SamplingModels {
  /** Predicts tokens. */
  readonly transformer: Transformer;
  /** Decodes them. */
  readonly tokenizer: Tokenizer;
  /** Where both are. */
  readonly gpu: Gpu;
}

/** Images of one batch: each has a class and a seed. */
export type SampleBatch = Pick<GenerateOptions, "classes" | "seeds">;

/**
 * Samples batch after batch. While one is decoded and read back, the next one is recorded already.
 *
 * @param models Transformer and tokenizer.
 * @param batches Classes and seeds.
 * @param settings How tokens are drawn.
 * @returns Pixels of each batch, in order.
 */
export async function* sampleBatches(
  models: SamplingModels,
  batches: Iterable<SampleBatch>,
  settings: Omit<GenerateOptions, "classes" | "seeds" | "onProgress">,
): AsyncGenerator<DecodedImages> {
  let earlier: Promise<DecodedImages> | undefined;
  for (const batch of batches) {
    const { images } = await startImages(models, { ...settings, ...batch });
    if (earlier) yield await earlier;
    earlier = images;
  }
  if (earlier) yield await earlier;
}

/**
 * Divides images into batches.
 *
 * @param images Classes and seeds.
 * @param batchSize Images of a batch; the last has what is left.
 * @returns The batches.
 */
export function* batchesOf(
  { classes, seeds }: SampleBatch,
  batchSize: number,
): Generator<SampleBatch> {
  for (let start = 0; start < classes.length; start += batchSize) {
    const end = start + batchSize;
    yield { classes: classes.slice(start, end), seeds: seeds.slice(start, end) };
  }
}

/**
 * Samples images of given classes.
 *
 * @param models Transformer and tokenizer.
 * @param options Classes, seeds and settings.
 * @returns Pixels, in the order of the classes.
 */
export async function sampleImages(
  models: SamplingModels,
  options: SampleOptions,
): Promise<DecodedImages> {
  const { classes, seeds, batchSize, ...settings } = options;
  const parts: DecodedImages[] = [];
  const batches = batchesOf({ classes, seeds }, batchSize);
  for await (const part of sampleBatches(models, batches, settings)) parts.push(part);
  const pixels = join(parts.map((part) => part.pixels));
  return { pixels, resolution: parts[0]?.resolution ?? 0 };
}

/** Records and submits everything up to the read of the pixels, which are on their way then. */
async function startImages(
  { transformer, tokenizer, gpu }: SamplingModels,
  options: GenerateOptions,
): Promise<{ images: Promise<DecodedImages> }> {
  using tape = new Tape(gpu, { record: false });
  const tokens = await drawTokens(tape, transformer, options);
  const { gridSize } = transformer.config;
  const resolution = gridSize * tokenizer.patchSize;
  const count = options.classes.length;
  const most = imagesAtOnce(resolution);
  const sizes = Array.from(
    { length: Math.ceil(count / most) },
    (_, i) => Math.min(most, count - i * most),
  );
  const parts = split(tokens, sizes, { axis: 0 }).map((part) => {
    const grid = tape.view(part, [part.shape[0]!, gridSize, gridSize]);
    return tokenizer.decodeIndices(grid).read();
  });
  const images = Promise.all(parts).then((read) => ({ pixels: join(read), resolution }));
  // A failure is thrown where the images are awaited; until then the next batch may fail of the same.
  images.catch(() => {});
  return { images };
}

/**
 * Encodes images and decodes their codes again.
 *
 * @param models The tokenizer.
 * @param images Pixels in [-1, 1], shape (images, resolution, resolution, 3).
 * @param resolution Width and height in pixels.
 * @returns Reconstructions, and the tokens (images, tokens an image).
 */
export async function reconstructImages(
  models: { tokenizer: Tokenizer; gpu: Gpu },
  images: Float32Array,
  resolution: number,
): Promise<DecodedImages & { tokens: Uint32Array }> {
  using tape = new Tape(models.gpu, { record: false });
  const count = images.length / (resolution * resolution * 3);
  const x = tape.input(images, [count, resolution, resolution, 3]);
  const { reconstruction, indices } = models.tokenizer.forward(x);
  const [pixels, tokens] = await Promise.all([
    reconstruction.read(),
    indices.readIndices(),
  ]);
  return { pixels: new Float32Array(pixels.buffer as ArrayBuffer), resolution, tokens };
}

function join(parts: readonly ArrayLike<number>[]): Float32Array<ArrayBuffer> {
  const pixels = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    pixels.set(part, offset);
    offset += part.length;
  }
  return pixels;
}

/**
 * Splits a batch of pixels into pictures.
 *
 * @param images Pixels in [-1, 1].
 * @returns One picture an image.
 */
export function toPictures(images: DecodedImages): RgbImage[] {
  const { pixels, resolution } = images;
  const size = resolution * resolution * 3;
  return Array.from({ length: pixels.length / size }, (_, i) => ({
    width: resolution,
    height: resolution,
    pixels: unitToSamples(pixels.subarray(i * size, (i + 1) * size)),
  }));
}

/**
 * Arranges pictures in a sheet and writes it as PNG.
 *
 * @param path The file, replaced only when complete.
 * @param rows Rows of the sheet.
 * @param options Title and labels.
 * @throws {UserError} If the file cannot be written.
 */
export async function writeSheet(
  path: string,
  rows: readonly SheetRow[],
  options: SheetOptions = {},
): Promise<void> {
  await writeFileAtomically(path, encodePng(await makeSheet(rows, options)));
}

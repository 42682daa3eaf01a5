/** Checks how images are decoded, scaled and cropped against the reference's pixels. @module */

import { cutSquare } from "../../train/data/prepare.ts";
import { decodeImageExactly, type RgbImage } from "../../train/image/codec.ts";
import { LibJpeg } from "../../train/image/libjpeg.ts";
import { samplesToUnit } from "../../train/image/resize.ts";
import type { CheckContext } from "./file_check.ts";
import { type JsonObject, numbersOf, objectOf, textOf } from "./json.ts";
import type { VectorFile } from "./vectors.ts";

/** Pillow's mode of 16-bit gray, of which it keeps the low values only; see {@linkcode compareDeepGray}. */
const DEEP_GRAY = "I;16";

/**
 * Most levels by which a CMYK file may be off: it is not decoded by libjpeg, and a red, green or blue sample is a product of
 * two decoded ones, each of which may be rounded the other way.
 */
const CMYK_TOLERANCE = 2;

/** One image of the file. */
interface ImageCase {
  readonly file: VectorFile;
  readonly name: string;
  readonly config: JsonObject;
  /** What is in the image file; undefined where the vectors come without their images. */
  readonly bytes: Uint8Array | undefined;
}

/** Samples of a stored picture, shape (height, width, 3). */
async function storedImage(file: VectorFile, name: string): Promise<RgbImage> {
  const [height = 0, width = 0] = file.shape(name);
  return { width, height, pixels: Uint8Array.from(await file.input(name)) };
}

/** Values in [-1, 1], in the file's order of axes (1, 3, height, width). */
function toPlanes(samples: Uint8Array): Float32Array {
  const unit = samplesToUnit(samples);
  const area = unit.length / 3;
  return unit.map((_, i) => unit[(i % area) * 3 + Math.floor(i / area)] ?? NaN);
}

async function checkDecoded({ file, name, config, bytes }: ImageCase): Promise<void> {
  const group = `decoded ${name}`;
  const stored = `decoded_hwc.${name}`;
  if (bytes === undefined) return file.skip(stored);
  const { pixels } = await decodeImageExactly(bytes, new LibJpeg());
  const mode = textOf(config.mode, `${name}.mode`);
  if (mode === DEEP_GRAY) return await compareDeepGray(file, { stored, group, pixels });
  if (mode !== "CMYK") return await file.compare(stored, pixels, { group });
  const expected = await file.input(stored);
  const differences = expected.map((sample, i) => Math.abs(sample - (pixels[i] ?? NaN)));
  file.check(group, Math.max(...differences), CMYK_TOLERANCE);
}

/** The reference turns every value above 255 of 65,535 into white; here the high byte is kept, as of 16-bit color. */
async function compareDeepGray(
  file: VectorFile,
  { stored, group, pixels }: { stored: string; group: string; pixels: Uint8Array },
): Promise<void> {
  const expected = await file.input(stored);
  const wrong = expected.filter((clipped, i) => clipped < 255 && pixels[i] !== 0);
  file.check(group, wrong.length, 0);
}

/** A file that the reference refuses must be refused. */
async function checkRefused({ file, name, bytes }: ImageCase): Promise<void> {
  if (bytes === undefined) return;
  const refused = await decodeImageExactly(bytes, new LibJpeg()).then(() => false, () => true);
  file.check(`refused ${name}`, refused ? 0 : 1, 0);
}

/** Bytes of an image of the vectors, if they came with theirs. */
async function readImage(folder: string, name: string): Promise<Uint8Array | undefined> {
  try {
    return await Deno.readFile(`${folder}/images/${name}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Compares every image of the file: its decoded pixels with those of its file in the folder `images`, and the squares made
 * of the stored pixels.
 *
 * @param context File and folder.
 */
export async function checkPreprocess({ file, folder }: CheckContext): Promise<void> {
  const sizes = numbersOf(file.config.sizes, "sizes");
  for (const [name, value] of Object.entries(objectOf(file.config.files, "files"))) {
    const config = objectOf(value, name);
    const image = { file, name, config, bytes: await readImage(folder, name) };
    if ("error" in config) {
      await checkRefused(image);
      continue;
    }
    await checkDecoded(image);
    const decoded = await storedImage(file, `decoded_hwc.${name}`);
    for (const resolution of sizes) {
      const square = toPlanes(cutSquare(decoded, { resolution }));
      await file.compare(`out${resolution}.${name}`, square, { group: `${resolution} pixels` });
    }
    const own = `original_reso.${name}`;
    if (file.has(own)) {
      await file.compare(own, toPlanes(decoded.pixels), { group: "own resolution" });
    }
  }
}

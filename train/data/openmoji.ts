/** The embedded data set: the OpenMoji drawings, rasterized at any resolution, with their Unicode group as class. @module */

import openmojiData from "openmoji/data/openmoji.json" with { type: "json" };
import openmojiPackage from "openmoji/package.json" with { type: "json" };
import resvgPackage from "@resvg/resvg-js/package.json" with { type: "json" };
import { createHash } from "node:crypto";
import { fileError } from "../files/file_error.ts";
import { flipHorizontally, samplesToUnit } from "../image/resize.ts";
import { openSvgRasterizer } from "../image/svg.ts";
import {
  checkIndex,
  checkResolution,
  type Dataset,
  drawAugmentation,
  type LoadedImages,
  type LoadImagesOptions,
  type Split,
} from "./dataset.ts";
import { cachedPixels } from "./pixel_cache.ts";
import { cutSquare } from "./prepare.ts";
import { takeSplit } from "./split.ts";

/** What must be said wherever the pictures, or pictures made from them, are shown. */
export const OPENMOJI_CREDIT =
  "Emoji designed by OpenMoji (https://openmoji.org), license CC BY-SA 4.0";

/**
 * The classes: Unicode's emoji groups, in Unicode's order.
 *
 * Left out are "component" (nine pieces of hair and skin that are no pictures of their own) and OpenMoji's two "extras"
 * groups, which are no Unicode groups and mix all subjects: of their own images only 3 % lie nearest to the mean of
 * "extras-openmoji".
 */
export const OPENMOJI_CLASSES: readonly string[] = [
  "smileys-emotion",
  "people-body",
  "animals-nature",
  "food-drink",
  "travel-places",
  "activities",
  "objects",
  "symbols",
  "flags",
];

/** How {@linkcode openOpenMoji} opens. */
export interface OpenMojiOptions {
  /** Width and height of the images in pixels. */
  readonly resolution: number;
  /** Which part. */
  readonly split: Split;
  /** Whether images are mirrored at random; default false, as flags and letters have a left and a right. */
  readonly horizontalFlip?: boolean;
  /** Folder in which pixels are kept between runs; default `.cache`, null keeps nothing. */
  readonly cacheDirectory?: string | null;
}

/** One drawing of the data set. */
export interface OpenMojiEntry {
  /** Code points in hexadecimal, such as "1F600": the name of the file. */
  readonly name: string;
  /** Index into {@linkcode OPENMOJI_CLASSES}. */
  readonly label: number;
}

/** The fields of the package's list that are used here. */
interface ListedEmoji {
  readonly hexcode: string;
  readonly group: string;
  readonly skintone: string | number;
}

/**
 * Lists the drawings of one split, without those that only repeat another one in a skin tone.
 *
 * @param split Which part.
 * @returns Names and labels, in Unicode's order.
 */
export function listOpenMoji(split: Split): OpenMojiEntry[] {
  const listed: readonly ListedEmoji[] = openmojiData;
  const entries = listed
    .filter((emoji) => emoji.skintone === "")
    .map((emoji) => ({ name: emoji.hexcode, label: OPENMOJI_CLASSES.indexOf(emoji.group) }))
    .filter((entry) => entry.label >= 0);
  return takeSplit(entries, split);
}

/**
 * Opens the embedded data set.
 *
 * All pixels of the split sit in memory as bytes, 3 · resolution² each. They are drawn once and kept in the cache
 * folder; a cache that is missing, damaged or of another version is drawn anew.
 *
 * @param options Resolution and split.
 * @returns The data set; it needs the permissions to read and to call foreign functions.
 * @throws {RangeError} If the resolution is not a positive whole number.
 * @throws {UserError} If a drawing cannot be read.
 */
export async function openOpenMoji(options: OpenMojiOptions): Promise<Dataset> {
  const { resolution, split, horizontalFlip = false, cacheDirectory = ".cache" } = options;
  checkResolution(resolution);
  const entries = listOpenMoji(split);
  const version = openmojiPackage.version;
  const key = `openmoji ${version}, resvg ${resvgPackage.version}, ${resolution} pixels, ` +
    entries.map((entry) => entry.name).join(" ");
  const pixels = await cachedPixels(() => drawAll(entries, resolution), {
    path: cacheDirectory === null
      ? null
      : `${cacheDirectory}/openmoji-${version}-${split}-${resolution}.bin`,
    key,
    pixelBytes: entries.length * resolution * resolution * 3,
  });
  const labels = entries.map((entry) => entry.label).join(" ");
  const identity = createHash("sha256").update(`${key}, ${labels}`).digest("hex");
  return new OpenMojiDataset(entries, { resolution, pixels, horizontalFlip, identity });
}

/** Draws every entry on white, one after the other, shape (entries, resolution, resolution, 3). */
async function drawAll(
  entries: readonly OpenMojiEntry[],
  resolution: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const rasterize = await openSvgRasterizer();
  const list = import.meta.resolve("openmoji/data/openmoji.json");
  const imageBytes = resolution * resolution * 3;
  const all = new Uint8Array(entries.length * imageBytes);
  entries.forEach(({ name }, i) => {
    const image = rasterize(readDrawing(new URL(`../color/svg/${name}.svg`, list)), {
      width: resolution,
    });
    all.set(image.pixels, i * imageBytes);
  });
  return all;
}

function readDrawing(url: URL): string {
  try {
    return Deno.readTextFileSync(url);
  } catch (cause) {
    throw fileError(`read the OpenMoji drawing ${url.href}`, cause);
  }
}

interface OpenMojiContent {
  readonly resolution: number;
  readonly pixels: Uint8Array;
  readonly horizontalFlip: boolean;
  readonly identity: string;
}

class OpenMojiDataset implements Dataset {
  readonly classNames = OPENMOJI_CLASSES;
  readonly length: number;
  readonly resolution: number;
  readonly identity: string;
  readonly #entries: readonly OpenMojiEntry[];
  readonly #content: OpenMojiContent;

  constructor(entries: readonly OpenMojiEntry[], content: OpenMojiContent) {
    this.#entries = entries;
    this.#content = content;
    this.length = entries.length;
    this.resolution = content.resolution;
    this.identity = content.identity;
  }

  label(index: number): number {
    return this.#entry(index).label;
  }

  name(index: number): string {
    return this.#entry(index).name;
  }

  load(
    indices: ArrayLike<number>,
    { augment, view }: LoadImagesOptions = {},
  ): Promise<LoadedImages> {
    const { resolution, pixels, horizontalFlip } = this.#content;
    const size = resolution * resolution * 3;
    const images = new Float32Array(indices.length * size);
    Array.from(indices).forEach((index, slot) => {
      checkIndex(index, this);
      const image = pixels.subarray(index * size, (index + 1) * size);
      const sides = { width: resolution, height: resolution };
      const seen = view ? cutSquare({ ...sides, pixels: image }, { resolution, ...view }) : image;
      const flip = view?.flip ??
        (horizontalFlip && augment !== undefined && drawAugmentation(index, augment).flip);
      const shown = flip ? flipHorizontally({ ...sides, pixels: seen }).pixels : seen;
      samplesToUnit(shown, images.subarray(slot * size, (slot + 1) * size));
    });
    return Promise.resolve({ images, indices: Uint32Array.from(indices) });
  }

  reportSkipped(): void {
    // Every drawing of the package was read when the set was opened.
  }

  [Symbol.dispose](): void {
    // The pixels are plain memory.
  }

  #entry(index: number): OpenMojiEntry {
    checkIndex(index, this);
    const entry = this.#entries[index];
    if (entry === undefined) throw new RangeError(`Cannot take image ${index}: found none`);
    return entry;
  }
}

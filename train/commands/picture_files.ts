/** Image files that a command line names, at their own size or cut to a square. @module */

import { imagesBelow } from "../data/scan.ts";
import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import { decodeImageExactly, type RgbImage } from "../image/codec.ts";
import { LibJpeg } from "../image/libjpeg.ts";
import { crop, resizeShorterSide } from "../image/resize.ts";

/** An image file. */
export interface PictureFile {
  /** Name for results: the path inside its folder without ending; unique. */
  readonly name: string;
  /** Path to open it. */
  readonly path: string;
  /** Whether it was named itself, not found in a folder. */
  readonly named: boolean;
}

/** Decodes JPEG files; it holds nothing but its code and scratch memory. */
const LIB_JPEG = new LibJpeg();

/**
 * Lists image files: those named, and those in and below named folders.
 *
 * @param paths Files and folders.
 * @param options `subset`: a file with a line for each image of the folders that is taken, relative to its folder.
 * @returns The files, those of a folder ordered by name.
 * @throws {UserError} If a path does not exist, a folder holds no image, or the subset names none of its images.
 */
export async function listPictures(
  paths: readonly string[],
  options: { subset?: string | undefined } = {},
): Promise<PictureFile[]> {
  const { subset } = options;
  const wanted = subset === undefined ? undefined : await readLines(subset);
  const found: PictureFile[] = [];
  const used = new Set<string>();
  const add = (relative: string, path: string, named: boolean): void => {
    const stem = relative.replace(/\.[^./\\]*$/, "");
    let name = stem;
    for (let number = 2; used.has(name); number++) name = `${stem}_${number}`;
    used.add(name);
    found.push({ name, path, named });
  };
  for (const path of paths) {
    if (!await isFolder(path)) {
      add(path.split(/[/\\]/).at(-1)!, path, true);
      continue;
    }
    const names = imagesBelow(path).filter((name) => wanted?.has(name) ?? true);
    if (names.length === 0) {
      const what = wanted ? `one of the images of ${subset}` : "a PNG or JPEG file";
      throw new UserError(`Cannot read the images of ${path}: expected ${what}, found none`);
    }
    for (const name of names.sort()) add(name, `${path}/${name}`, false);
  }
  return found;
}

/**
 * Decodes an image file.
 *
 * @param path The file.
 * @param size Width and height of the square that is cut from its middle after scaling the shorter side; undefined to keep its size.
 * @returns The image.
 * @throws {UserError} If it cannot be read or is damaged.
 */
export async function readPicture(path: string, size: number | undefined): Promise<RgbImage> {
  const bytes = await Deno.readFile(path).catch((cause) => {
    throw fileError(`read image ${path}`, cause);
  });
  try {
    const image = await decodeImageExactly(bytes, LIB_JPEG);
    return size === undefined ? image : crop(resizeShorterSide(image, size), size);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UserError(
      `Cannot read image ${path}: expected a PNG or JPEG file, found that ${reason}`,
      { cause },
    );
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (cause) {
    throw fileError(`read image ${path}`, cause);
  }
}

async function readLines(path: string): Promise<Set<string>> {
  try {
    const text = await Deno.readTextFile(path);
    return new Set(text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean));
  } catch (cause) {
    throw fileError(`read the subset ${path}`, cause);
  }
}

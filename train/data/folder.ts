/** A plain folder of PNG and JPEG images as a data set: its sub-folders are the classes. @module */

import { checkResolution, type Dataset, type Split } from "./dataset.ts";
import { ImageFiles, type ImageFilesOptions } from "./image_files.ts";
import { type ImageList, NamedImages, packNames } from "./image_list.ts";
import { type IndexCacheOptions, openIndex } from "./index_cache.ts";
import { scanFolder } from "./scan.ts";

/** How {@linkcode openImageFolder} opens. */
export interface ImageFolderOptions extends ImageFilesOptions {
  /** Which part. */
  readonly split: Split;
}

/**
 * Opens one split of a folder of images; see `scanFolder` for the layouts it may have.
 *
 * Files are decoded when they are loaded, in workers. A broken file is skipped: the next readable one takes its place,
 * and the end of the epoch counts them in one warning.
 *
 * @param folder Path of the folder.
 * @param options Resolution, split, random crops and flips, number of workers.
 * @returns The data set. Dispose it to end its workers.
 * @throws {UserError} If the folder cannot be read or holds no image.
 * @throws {RangeError} If the resolution or the number of workers is impossible.
 */
export function openImageFolder(folder: string, options: ImageFolderOptions): Dataset {
  checkResolution(options.resolution);
  const { classNames, files, root } = scanFolder(folder, options.split);
  const list = new NamedImages(root, packNames(classNames, files));
  return new ImageFiles(titleOf(folder), list, options);
}

/**
 * Opens one split of a folder as {@linkcode openImageFolder} does, but looks through the folder once only: the list of its
 * images is kept between runs, until a folder in it changes.
 *
 * @param folder Path of the folder.
 * @param options As for `openImageFolder`, and where lists are kept.
 * @returns The data set. Dispose it to end its workers.
 * @throws {UserError} If the folder cannot be read or holds no image.
 * @throws {RangeError} If the resolution or the number of workers is impossible.
 */
export async function openIndexedFolder(
  folder: string,
  options: ImageFolderOptions & Pick<IndexCacheOptions, "cacheDirectory">,
): Promise<Dataset> {
  return new ImageFiles(titleOf(folder), await indexFolder(folder, options), options);
}

async function indexFolder(
  folder: string,
  { split, cacheDirectory }: ImageFolderOptions & Pick<IndexCacheOptions, "cacheDirectory">,
): Promise<ImageList> {
  return await openIndex(
    () => {
      const { classNames, files, root, folders } = scanFolder(folder, split);
      return { root, content: packNames(classNames, files), dependsOn: folders };
    },
    { cacheDirectory, key: { kind: "folder", folder, split } },
  );
}

function titleOf(folder: string): string {
  return `the image folder ${folder}`;
}

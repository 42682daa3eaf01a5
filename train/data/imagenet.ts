/** ImageNet as the reference lays it out: a folder of synsets for each split, lists of files, classes by rank. @module */

import { parse } from "@std/yaml";
import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import type { Dataset, Split } from "./dataset.ts";
import { ImageFiles, type ImageFilesOptions } from "./image_files.ts";
import { packNames } from "./image_list.ts";
import { type BuiltIndex, type IndexCacheOptions, openIndex } from "./index_cache.ts";
import { IMAGE_FILE, listFolder } from "./scan.ts";

/** Which images of ImageNet. */
export interface ImageNetSelection {
  /**
   * Folder with the folders `train` and `val`, or with the folders of one split's synsets; null for the reference's place,
   * `$XDG_CACHE_HOME` or `../data`.
   */
  readonly root: string | null;
  /** Which part: the folder `train` or `val`. */
  readonly split: Split;
  /** Name of a list of files, `train_NAME.txt` beside the split's folder, or null for all. */
  readonly subset: string | null;
  /** Classes to take, as "32-123, 256", the end of a range excluded; null for all. */
  readonly subIndices: string | null;
}

/** How {@linkcode openImageNet} opens. */
export interface ImageNetOptions
  extends ImageNetSelection, ImageFilesOptions, Pick<IndexCacheOptions, "cacheDirectory"> {}

/** Names of the splits' folders. */
const FOLDER_OF: Readonly<Record<Split, string>> = { train: "train", validation: "val" };

/** Numbers of the classes' synsets, if the folder has it; the rank of the sorted synsets otherwise, which is the same. */
const SYNSETS_FILE = "imagenet_idx_to_synset.yaml";

const FILE_LIST = "filelist.txt";
const EXPECTED = `expected ${FILE_LIST}, or a folder of images for each synset`;

/** Files that the reference leaves out. */
const LEFT_OUT: ReadonlySet<string> = new Set(["n06596364_9591.JPEG"]);

/**
 * Opens one split of ImageNet.
 *
 * The files are those of `filelist.txt` in the split's folder, or of the list that `subset` names, in its order; without
 * a list, all images in the folders of the synsets, sorted. A class is the rank of its synset among those that are there.
 * The list is made once and kept in the cache folder.
 *
 * @param options Where, which images, resolution, random crops.
 * @returns The data set. Dispose it to end its workers.
 * @throws {UserError} If the folder or a list cannot be read, or there is no image.
 * @see SEED-Voken src/IBQ/data/imagenet.py.
 */
export async function openImageNet(options: ImageNetOptions): Promise<Dataset> {
  const { split, subset, subIndices, cacheDirectory } = options;
  const folder = folderOf(options);
  const key = { kind: "imagenet", folder, split, subset, subIndices };
  const list = await openIndex(() => indexImageNet(folder, options), { cacheDirectory, key });
  return new ImageFiles(`the ImageNet folder ${folder}`, list, options);
}

/** The folder of the split. */
function folderOf({ root, split }: ImageNetSelection): string {
  const name = FOLDER_OF[split];
  if (root === null) return `${Deno.env.get("XDG_CACHE_HOME") ?? "../data"}/${name}`;
  return isFolder(`${root}/${name}`) ? `${root}/${name}` : root;
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

function indexImageNet(folder: string, selection: ImageNetSelection): BuiltIndex {
  const listed = fileList(folder, selection);
  const wanted = listed.paths.filter((path) =>
    !LEFT_OUT.has(path.slice(path.lastIndexOf("/") + 1))
  );
  const dependsOn = [...listed.dependsOn];
  let paths = wanted;
  if (selection.subIndices !== null) {
    const synsetsFile = `${folder}/${SYNSETS_FILE}`;
    if (exists(synsetsFile)) dependsOn.push(synsetsFile);
    const taken = synsetsOf(parseIndices(selection.subIndices), { synsetsFile, paths: wanted });
    paths = wanted.filter((path) => taken.has(synsetOf(path)));
  }
  if (paths.length === 0) {
    throw new UserError(`Cannot use the ImageNet folder ${folder}: expected images, found none`);
  }
  const classNames = sortedSynsets(paths);
  const ranks = new Map(classNames.map((synset, rank) => [synset, rank]));
  const images = paths.map((name) => ({ name, label: ranks.get(synsetOf(name)) ?? 0 }));
  return { root: folder, content: packNames(classNames, images), dependsOn };
}

function synsetOf(path: string): string {
  return path.slice(0, path.indexOf("/"));
}

function sortedSynsets(paths: readonly string[]): string[] {
  return [...new Set(paths.map(synsetOf))].sort();
}

/** Paths relative to the folder, and what they were read from. */
interface FileList {
  readonly paths: readonly string[];
  readonly dependsOn: readonly string[];
}

function fileList(folder: string, { split, subset }: ImageNetSelection): FileList {
  if (subset !== null) {
    const name = subset.endsWith(".txt") ? subset : `${FOLDER_OF[split]}_${subset}.txt`;
    const places = [`${folder}/../${name}`, `${folder}/${name}`, `../../data/${name}`];
    if (subset.endsWith(".txt")) places.unshift(subset);
    const found = places.find(exists);
    if (found === undefined) {
      throw new UserError(
        `Cannot use the subset ${subset} of ImageNet: expected a list of files at ${
          places.join(" or ")
        }, found none`,
      );
    }
    return readList(found);
  }
  const whole = `${folder}/${FILE_LIST}`;
  return exists(whole) ? readList(whole) : scanSynsets(folder);
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** A list of paths, one a line. */
function readList(path: string): FileList {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (cause) {
    throw fileError(`read the list of files ${path}`, cause);
  }
  const paths = text.split(/\r?\n/).filter((line) => line !== "");
  const strange = paths.find((line) => !IN_SYNSET.test(line) || LEADS_OUT.test(line));
  if (strange !== undefined) {
    throw new UserError(
      `Cannot read the list of files ${path}: expected lines such as n01440764/n01440764_10026.JPEG, found ` +
        JSON.stringify(strange.slice(0, 80)),
    );
  }
  return { paths, dependsOn: [path] };
}

/** A file in the folder of a synset. */
const IN_SYNSET = /^[^/\\\0]+\/[^\\\0]+$/;
const LEADS_OUT = /(^|\/)\.\.?(\/|$)/;

/** The images in the folders of the synsets, not deeper. */
function scanSynsets(folder: string): FileList {
  const synsets = listFolder(folder, EXPECTED).filter((entry) => entry.isFolder).map((entry) =>
    entry.name
  );
  const paths = synsets.flatMap((synset) =>
    listFolder(`${folder}/${synset}`, EXPECTED)
      .filter((entry) => !entry.isFolder && IMAGE_FILE.test(entry.name))
      .map((entry) => `${synset}/${entry.name}`)
  );
  if (paths.length === 0) {
    throw new UserError(
      `Cannot use the ImageNet folder ${folder}: ${EXPECTED}, ` +
        `found ${synsets.length} folders without images`,
    );
  }
  return {
    paths: paths.sort(),
    dependsOn: [folder, ...synsets.map((name) => `${folder}/${name}`)],
  };
}

/** Reads "32-123, 256, 280-321": whole numbers and ranges without their end, as the reference reads them. */
function parseIndices(text: string): number[] {
  return text.split(",").flatMap((part) => {
    const [, first, last] = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part) ?? [];
    if (first === undefined) {
      throw new UserError(
        `Cannot use sub_indices "${text}": expected numbers and ranges as in "32-123, 256", found "${part}"`,
      );
    }
    const start = Number(first);
    const length = last === undefined ? 1 : Math.max(0, Number(last) - start);
    if (start + length > MOST_CLASSES) {
      throw new UserError(
        `Cannot use sub_indices "${text}": expected classes under ${MOST_CLASSES}, found "${part}"`,
      );
    }
    return Array.from({ length }, (_, i) => start + i);
  });
}

/** Bound of class numbers, far above ImageNet-21k. */
const MOST_CLASSES = 1_000_000;

function synsetsOf(
  indices: readonly number[],
  { synsetsFile, paths }: { synsetsFile: string; paths: readonly string[] },
): ReadonlySet<string> {
  const synsets = exists(synsetsFile) ? readSynsets(synsetsFile) : sortedSynsets(paths);
  const taken = indices.map((index) => {
    const synset = synsets[index];
    if (synset !== undefined) return synset;
    throw new UserError(
      `Cannot use sub_indices: expected classes under ${synsets.length}, found ${index}`,
    );
  });
  return new Set(taken);
}

/** The synset of each class number. */
function readSynsets(path: string): string[] {
  let content: unknown;
  try {
    content = parse(Deno.readTextFileSync(path));
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
  const synsets: string[] = [];
  const entries = typeof content === "object" && content !== null ? Object.entries(content) : [];
  for (const [index, synset] of entries) {
    if (/^\d{1,6}$/.test(index) && typeof synset === "string") synsets[Number(index)] = synset;
  }
  if (synsets.length > 0) return synsets;
  throw new UserError(`Cannot read ${path}: expected lines such as "0: n01440764", found none`);
}

/** Finds the images of a folder, their classes and their splits. @module */

import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import type { Split } from "./dataset.ts";
import { takeSplit } from "./split.ts";

/** One image file of a folder. */
export interface ScannedFile {
  /** Path relative to the folder of the split, with "/" between its parts; unique. */
  readonly name: string;
  /** Index into the class names. */
  readonly label: number;
}

/** What a folder holds for one split. */
export interface ScannedFolder {
  /** The classes in alphabetical order (by code unit), equal for both splits. */
  readonly classNames: readonly string[];
  /** The images of the split, ordered by name. */
  readonly files: readonly ScannedFile[];
  /** The folder of the split. */
  readonly root: string;
  /** Every folder that was looked into: the result is the same until one of them changes. */
  readonly folders: readonly string[];
}

/** Names of files that are images. */
export const IMAGE_FILE = /\.(png|jpe?g)$/i;
const EXPECTED =
  "expected a folder of PNG or JPEG files, in one sub-folder for each class or without sub-folders";

/** Names of the sub-folders that hold ready-made splits, as ImageNet is laid out. */
const TRAIN_FOLDER = "train";
const VALIDATION_FOLDERS: readonly string[] = ["val", "validation"];

/**
 * Lists the images of one split of a folder.
 *
 * - Sub-folders are classes, in alphabetical order; images may lie deeper inside them. Without sub-folders that hold
 *   images, the folder itself is the only class.
 * - With a sub-folder `train` and one `val` (or `validation`), these are the splits, and the sub-folders inside them
 *   the classes. Otherwise the hash of each name decides the split.
 * - Hidden files and files with other endings than .png, .jpg and .jpeg are passed over. Links are followed.
 *
 * @param folder Path of the folder.
 * @param split Which part.
 * @returns Classes and files; at least one file.
 * @throws {UserError} If the folder cannot be read, holds no image, or its validation part has a class of its own.
 */
export function scanFolder(folder: string, split: Split): ScannedFolder {
  const entries = listFolder(folder);
  const has = (name: string) => entries.some((entry) => entry.isFolder && entry.name === name);
  const validation = VALIDATION_FOLDERS.find(has);
  if (!has(TRAIN_FOLDER) || validation === undefined) {
    const whole = scanClasses(folder);
    return { ...whole, files: takeSplit(whole.files, split) };
  }
  const train = scanClasses(`${folder}/${TRAIN_FOLDER}`);
  if (split === "train") return { ...train, folders: [folder, ...train.folders] };
  const part = relabel(scanClasses(`${folder}/${validation}`), train.classNames, folder);
  return { ...part, folders: [folder, ...train.folders, ...part.folders] };
}

/** Numbers the classes of the validation part as those of the training part. */
function relabel(
  part: ScannedFolder,
  classNames: readonly string[],
  folder: string,
): ScannedFolder {
  // Two flat parts are one class each, named after their own folder.
  const flat = part.classNames.length === 1 && classNames.length === 1;
  const labels = part.classNames.map((name) => flat ? 0 : classNames.indexOf(name));
  const unknown = part.classNames.filter((_, i) => labels[i] === -1);
  if (unknown.length > 0) {
    throw new UserError(
      `Cannot use the image folder ${folder}: expected every validation class among the ` +
        `${classNames.length} training classes, found ${unknown.slice(0, 3).join(", ")}`,
    );
  }
  const files = part.files.map((file) => ({ ...file, label: labels[file.label] ?? 0 }));
  return { ...part, classNames, files };
}

function scanClasses(folder: string): ScannedFolder {
  const entries = listFolder(folder);
  const folders = [folder];
  const classes = entries
    .filter((entry) => entry.isFolder)
    .map((entry) => ({
      name: entry.name,
      paths: [...walk(folder, entry.name, { ancestors: new Set(), folders })],
    }))
    .filter((found) => found.paths.length > 0);
  if (classes.length === 0) {
    const loose = entries.filter((entry) => !entry.isFolder && IMAGE_FILE.test(entry.name));
    if (loose.length === 0) {
      throw new UserError(`Cannot use the image folder ${folder}: ${EXPECTED}, found no image`);
    }
    const name = folder.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1) ?? folder;
    classes.push({ name, paths: loose.map((entry) => entry.name) });
  }
  return {
    classNames: classes.map((found) => found.name),
    files: classes.flatMap(({ paths }, label) => paths.map((name) => ({ name, label }))),
    root: folder,
    folders,
  };
}

/** Where a walk is. */
interface Walk {
  /** The folders above, which stop links that lead back up. */
  readonly ancestors: ReadonlySet<string>;
  /** Receives every folder that is looked into. */
  readonly folders: string[];
}

/** Relative paths of the images in a sub-folder and below. */
function* walk(root: string, relative: string, { ancestors, folders }: Walk): Generator<string> {
  const folder = `${root}/${relative}`;
  const real = Deno.realPathSync(folder);
  if (ancestors.has(real)) return;
  folders.push(folder);
  const inside = new Set([...ancestors, real]);
  for (const entry of listFolder(folder)) {
    const name = `${relative}/${entry.name}`;
    if (entry.isFolder) yield* walk(root, name, { ancestors: inside, folders });
    else if (IMAGE_FILE.test(entry.name)) yield name;
  }
}

/**
 * Lists every image in a folder and below.
 *
 * @param folder Path of the folder.
 * @returns Paths relative to it, with "/" between their parts, those of each folder ordered by name.
 * @throws {UserError} If a folder cannot be read.
 */
export function imagesBelow(folder: string): string[] {
  return listFolder(folder).flatMap(({ name, isFolder }) => {
    if (isFolder) return [...walk(folder, name, { ancestors: new Set(), folders: [] })];
    return IMAGE_FILE.test(name) ? [name] : [];
  });
}

/** An entry of a folder. */
export interface FolderEntry {
  /** Its name. */
  readonly name: string;
  /** Whether it is a folder, or a link to one. */
  readonly isFolder: boolean;
}

/**
 * Lists the visible entries of a folder.
 *
 * @param folder Path of the folder.
 * @param expected What it should be, for the message if it cannot be read.
 * @returns The entries, ordered by name.
 * @throws {UserError} If it cannot be read.
 */
export function listFolder(folder: string, expected: string = EXPECTED): FolderEntry[] {
  try {
    return [...Deno.readDirSync(folder)]
      .filter((entry) => !entry.name.startsWith("."))
      .map((entry) => ({
        name: entry.name,
        isFolder: entry.isDirectory ||
          (entry.isSymlink && linksToFolder(`${folder}/${entry.name}`)),
      }))
      .sort((a, b) => a.name < b.name ? -1 : 1);
  } catch (cause) {
    const { message } = fileError(`read the image folder ${folder}`, cause);
    throw new UserError(`${message}; ${expected}`, { cause });
  }
}

/** A link that leads nowhere is no folder; opened as an image it is counted among the broken files. */
function linksToFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/** WebDataset shards, tar archives of images without classes, as the reference's pre-training reads them. @module */

import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import { listTar, TAR_BLOCK_BYTES, type TarMember } from "../files/tar.ts";
import type { Dataset } from "./dataset.ts";
import { ImageFiles, type ImageFilesOptions } from "./image_files.ts";
import { type ArchiveMembers, packNames } from "./image_list.ts";
import { type BuiltIndex, type IndexCacheOptions, openIndex } from "./index_cache.ts";
import { listFolder } from "./scan.ts";

/** Which shards, and which of their members. */
export interface ShardSelection {
  /** Folders of shards. */
  readonly dataDir: readonly string[];
  /** Endings of the members that are images, most wanted first: what follows the first dot of the name. */
  readonly imageKey: readonly string[];
  /** JSON files that list the members to leave out, by the path of their shard. */
  readonly filterPath: readonly string[];
  /** JSON files with the number of images of each shard, by its path. */
  readonly sampleJsonPath: readonly string[];
  /** A list of the shards of the folders of LAION-COCO, one path a line, or null for all. */
  readonly sampleCocoUrls: string | null;
  /** A list of the shards of the folders of LAION-HD, one path a line, or null for all. */
  readonly sampleHdUrls: string | null;
}

/** How {@linkcode openShards} opens. */
export interface ShardsOptions
  extends
    ShardSelection,
    Omit<ImageFilesOptions, "resampling">,
    Pick<IndexCacheOptions, "cacheDirectory"> {}

/** The only class: shards have none. */
const CLASS_NAME = "images";

/** Longest member that is taken for an image, and last byte where one may start: what the index can hold. */
const MAX_MEMBER_BYTES = 2 ** 32 - 1;

/** Shards named in one warning. */
const NAMES_IN_WARNING = 3;

/**
 * Opens the images of tar shards.
 *
 * The shards are listed once, header by header, and the list is kept in the cache folder. Images are then read where they
 * lie, in the loader's order: unlike in the reference, each is seen once an epoch, and a resumed run goes on exactly. A
 * damaged shard gives the images before the damage and a warning.
 *
 * @param options Folders, endings, lists, resolution.
 * @returns The data set; all images have the class 0. Dispose it to end its workers.
 * @throws {UserError} If a folder or list cannot be read, or there is no image.
 * @see SEED-Voken src/Open_MAGVIT2/data/pretrain.py, `LAIONCombineTrain`.
 */
export async function openShards(options: ShardsOptions): Promise<Dataset> {
  const { dataDir, imageKey, filterPath, sampleJsonPath, cacheDirectory, warn } = options;
  const { sampleCocoUrls, sampleHdUrls } = options;
  const folder = dataDir.join(", ");
  const key = {
    kind: "shards",
    folder: Deno.cwd(),
    selection: [dataDir, imageKey, filterPath, sampleJsonPath, sampleCocoUrls, sampleHdUrls],
  };
  const list = await openIndex(() => indexShards(options, warn), { cacheDirectory, key });
  return new ImageFiles(`the shards of ${folder}`, list, { ...options, resampling: "pillow" });
}

function indexShards(selection: ShardSelection, warn: (message: string) => void): BuiltIndex {
  const found = findShards(selection);
  const filters = readJsonFiles(selection.filterPath, isTexts, "lists of members by shard");
  const counts = readJsonFiles(selection.sampleJsonPath, isCount, "numbers of images by shard");
  const problems: string[] = [];
  const names: { name: string; label: number }[] = [];
  const archive: number[] = [];
  const startBlock: number[] = [];
  const lengthBytes: number[] = [];
  for (const [number, shard] of found.shards.entries()) {
    const { members, problem } = listTar(shard);
    const leftOut = new Set((filters.get(shard) ?? []).map((name) => splitName(name).key));
    const images = imagesOf(members, selection.imageKey).filter(({ key }) => !leftOut.has(key));
    for (const { member } of images) {
      names.push({ name: member.name, label: 0 });
      archive.push(number);
      startBlock.push(member.startByte / TAR_BLOCK_BYTES);
      lengthBytes.push(member.lengthBytes);
    }
    const expected = counts.get(shard);
    if (problem !== undefined) problems.push(`${shard}: ${problem}`);
    else if (expected !== undefined && expected > images.length) {
      problems.push(`${shard}: expected ${expected} images, found ${images.length}`);
    }
  }
  if (problems.length > 0) {
    const more = problems.length > NAMES_IN_WARNING ? "; …" : "";
    warn(
      `Damaged ${problems.length} of ${found.shards.length} shards, whose readable images are used: ` +
        problems.slice(0, NAMES_IN_WARNING).join("; ") + more,
    );
  }
  if (names.length === 0) {
    throw new UserError(
      `Cannot use the shards of ${selection.dataDir.join(", ")}: expected members that end in ${
        selection.imageKey.join(", ")
      }, found none in ${found.shards.length} shards`,
    );
  }
  const members: ArchiveMembers = {
    archives: found.shards,
    archive: Uint32Array.from(archive),
    startBlock: Uint32Array.from(startBlock),
    lengthBytes: Uint32Array.from(lengthBytes),
  };
  return {
    root: "",
    content: { ...packNames([CLASS_NAME], names), members },
    dependsOn: [
      ...found.dependsOn,
      ...found.shards,
      ...selection.filterPath,
      ...selection.sampleJsonPath,
    ],
  };
}

/** A member's name as WebDataset divides it: the sample's key up to the first dot of the last part, and the ending. */
function splitName(name: string): { key: string; ending: string } {
  const dot = name.indexOf(".", name.lastIndexOf("/") + 1);
  return dot < 0
    ? { key: name, ending: "" }
    : { key: name.slice(0, dot), ending: name.slice(dot + 1).toLowerCase() };
}

/** The image of each sample; neighboring members with one key are a sample. */
function imagesOf(
  members: readonly TarMember[],
  imageKeys: readonly string[],
): { key: string; member: TarMember }[] {
  const images: { key: string; member: TarMember; rank: number }[] = [];
  let open = "";
  for (const member of members) {
    const { key, ending } = splitName(member.name);
    const rank = imageKeys.indexOf(ending);
    const last = images.at(-1);
    const isSame = key === open && last?.key === key;
    open = key;
    if (rank < 0 || member.lengthBytes > MAX_MEMBER_BYTES) continue;
    if (!isSame) images.push({ key, member, rank });
    else if (rank < last.rank) images[images.length - 1] = { key, member, rank };
  }
  return images;
}

interface FoundShards {
  readonly shards: readonly string[];
  readonly dependsOn: readonly string[];
}

/** The shards in the order of the folders, sorted within each. */
function findShards(selection: ShardSelection): FoundShards {
  const shards: string[] = [];
  const dependsOn: string[] = [];
  for (const folder of selection.dataDir) {
    const { depth, list } = layoutOf(folder, selection);
    if (list === null) {
      shards.push(...shardsBelow(folder, depth, dependsOn));
    } else {
      shards.push(...readLines(list));
      dependsOn.push(list);
    }
  }
  if (shards.length > 0) return { shards: [...new Set(shards)], dependsOn };
  throw new UserError(
    `Cannot use the shards of ${selection.dataDir.join(", ")}: expected .tar files, found none`,
  );
}

/** Collections that the reference knows by name have shards in sub-folders, and lists of some of them. */
function layoutOf(
  folder: string,
  { sampleCocoUrls, sampleHdUrls }: ShardSelection,
): { readonly depth: number; readonly list: string | null } {
  if (folder.includes("LAION-COCO")) return { depth: 2, list: sampleCocoUrls };
  if (folder.includes("laion-hd")) return { depth: 1, list: sampleHdUrls };
  return { depth: 0, list: null };
}

function shardsBelow(folder: string, depth: number, folders: string[]): string[] {
  folders.push(folder);
  const base = folder.replace(/\/+$/, "");
  const entries = listFolder(folder, "expected a folder of .tar files");
  if (depth > 0) {
    return entries.filter((entry) => entry.isFolder).flatMap((entry) =>
      shardsBelow(`${base}/${entry.name}`, depth - 1, folders)
    );
  }
  return entries.filter((entry) => !entry.isFolder && entry.name.endsWith(".tar")).map((entry) =>
    `${base}/${entry.name}`
  );
}

function readLines(path: string): string[] {
  return readText(path).split(/\r?\n/).filter((line) => line !== "");
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
}

/** Reads JSON objects and joins them; a later file goes before an earlier one. */
function readJsonFiles<T>(
  paths: readonly string[],
  isValue: (value: unknown) => value is T,
  expected: string,
): Map<string, T> {
  const joined = new Map<string, T>();
  for (const path of paths) {
    let content: unknown;
    try {
      content = JSON.parse(readText(path));
    } catch (cause) {
      if (cause instanceof UserError) throw cause;
      throw new UserError(`Cannot read ${path}: expected JSON, found other text`, { cause });
    }
    const entries = typeof content === "object" && content !== null ? Object.entries(content) : [];
    for (const [shard, value] of entries) {
      if (!isValue(value)) {
        throw new UserError(
          `Cannot read ${path}: expected ${expected}, found ${
            JSON.stringify(value)?.slice(0, 60)
          } for ${shard.slice(0, 80)}`,
        );
      }
      joined.set(shard, value);
    }
  }
  return joined;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

/** Keeps the list of a folder's images between runs, until something that it was made from changes. @module */

import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { SafetensorsReader, type TensorSource, writeSafetensors } from "../files/safetensors.ts";
import { settledStamps, type Stamp, unchanged } from "../files/stamp.ts";
import { identityOf, NamedImages, type NamedImagesContent } from "./image_list.ts";

/** A list as it is built. */
export interface BuiltIndex {
  /** Folder of the files that the names are relative to. */
  readonly root: string;
  /** Names and classes. */
  readonly content: NamedImagesContent;
  /** Files and folders that it was made from; when one of them has another time or size, it is built again. */
  readonly dependsOn: readonly string[];
}

/** Where a list is kept, and what for. */
export interface IndexCacheOptions {
  /** Folder for files that are kept between runs; null keeps nothing. */
  readonly cacheDirectory: string | null;
  /** What the list is of, the folder included. */
  readonly key: Readonly<Record<string, unknown>> & { readonly folder: string };
}

const FORMAT = "tessera.index.1";

/**
 * Takes a list from the cache, or builds and keeps it.
 *
 * The cache only saves time: where it cannot be read or written, the list is built and nothing else happens.
 *
 * @param build Makes the list.
 * @param options Where it is kept, and its key.
 * @returns The list.
 * @throws {UserError} What `build` throws.
 */
export async function openIndex(
  build: () => BuiltIndex,
  options: IndexCacheOptions,
): Promise<NamedImages> {
  const { cacheDirectory, key } = options;
  const keyText = JSON.stringify({ ...key, folder: resolve(key.folder) });
  const name = createHash("sha256").update(keyText).digest("hex").slice(0, 24);
  const path = `${cacheDirectory}/index/${name}.safetensors`;
  if (cacheDirectory !== null) {
    const kept = await readIndex(path, keyText);
    if (kept) return kept;
  }
  const startMs = Date.now();
  const { root, content, dependsOn } = build();
  const list = new NamedImages(root, content);
  const stamps = settledStamps(dependsOn, startMs);
  if (cacheDirectory !== null && stamps) {
    await writeIndex(path, { list, root, content, stamps, keyText });
  }
  return list;
}

async function readIndex(path: string, keyText: string): Promise<NamedImages | null> {
  try {
    using file = await SafetensorsReader.open(path);
    const { metadata } = file;
    if (metadata.get("format") !== FORMAT || metadata.get("key") !== keyText) return null;
    const stamps: readonly Stamp[] = JSON.parse(metadata.get("stamps") ?? "[]");
    if (!unchanged(stamps)) return null;
    const numbers = async (name: string): Promise<Uint32Array<ArrayBuffer>> =>
      new Uint32Array((await file.bytes(name)).buffer);
    const archives = metadata.get("archives");
    const content = {
      classNames: JSON.parse(metadata.get("class_names") ?? "[]"),
      names: await file.bytes("names"),
      ends: await numbers("ends"),
      labels: await numbers("labels"),
      ...(archives !== undefined && {
        members: {
          archives: JSON.parse(archives),
          archive: await numbers("archive"),
          startBlock: await numbers("start_block"),
          lengthBytes: await numbers("length_bytes"),
        },
      }),
    };
    // Damage anywhere in it makes another hash.
    if (identityOf(content) !== metadata.get("identity")) return null;
    return new NamedImages(metadata.get("root") ?? "", content);
  } catch {
    return null;
  }
}

interface KeptIndex extends Pick<BuiltIndex, "root" | "content"> {
  readonly list: NamedImages;
  readonly stamps: readonly Stamp[];
  readonly keyText: string;
}

async function writeIndex(path: string, index: KeptIndex): Promise<void> {
  const { names, ends, labels, classNames, members } = index.content;
  const numbers = (name: string, data: Uint32Array): TensorSource => ({
    name,
    dtype: "U32",
    shape: [data.length],
    data,
  });
  try {
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await writeSafetensors(path, [
      { name: "names", dtype: "U8", shape: [names.length], data: names },
      numbers("ends", ends),
      numbers("labels", labels),
      ...(members
        ? [
          numbers("archive", members.archive),
          numbers("start_block", members.startBlock),
          numbers("length_bytes", members.lengthBytes),
        ]
        : []),
    ], {
      metadata: {
        format: FORMAT,
        key: index.keyText,
        root: index.root,
        identity: index.list.identity,
        "class_names": JSON.stringify(classNames),
        stamps: JSON.stringify(index.stamps),
        ...(members && { archives: JSON.stringify(members.archives) }),
      },
    });
  } catch {
    // Read-only folder, full disk, or another process that writes the same file: the next run looks again.
  }
}

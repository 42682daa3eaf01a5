/** Images of a `.npz` file, as evaluation suites exchange them: `arr_0` of bytes, perhaps `arr_1` with classes. @module */

import { createHash } from "node:crypto";
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "../files/atomic.ts";
import { type NpzEntry, NpzReader } from "../files/npz.ts";
import { checkIndex, type Dataset, type Split } from "./dataset.ts";
import { ImageFiles, type ImageFilesOptions } from "./image_files.ts";
import type { ImageList } from "./image_list.ts";
import type { IndexCacheOptions } from "./index_cache.ts";
import type { ImagePlace } from "./prepare.ts";
import { takeSplit } from "./split.ts";

/** How {@linkcode openNpzImages} opens. */
export interface NpzImagesOptions
  extends ImageFilesOptions, Pick<IndexCacheOptions, "cacheDirectory"> {
  /** Which part, by a hash of the image's number; or all. */
  readonly split: Split | "all";
}

const IMAGES = "arr_0";
const LABELS = "arr_1";

/** Classes are counted from the labels; more than this are no classes. */
const MOST_CLASSES = 2 ** 20;

/**
 * Opens the images of a `.npz` file: `arr_0`, unsigned bytes of shape (images, height, width, 3), and `arr_1`, if it is
 * there, whole numbers of shape (images), the classes. Images are read where they lie; a compressed file is unpacked once
 * into the cache folder.
 *
 * @param path The file.
 * @param options Resolution, split, random crops and flips.
 * @returns The data set. Dispose it to end its workers.
 * @throws {UserError} If the file cannot be read, is damaged, or holds no such arrays.
 */
export async function openNpzImages(path: string, options: NpzImagesOptions): Promise<Dataset> {
  using file = await NpzReader.open(path);
  const entry = file.entry(IMAGES);
  const [images = 0, height = 0, width = 0, channels] = entry.shape;
  if (
    entry.dtype !== "|u1" || entry.shape.length !== 4 || channels !== 3 ||
    images * height * width === 0
  ) {
    throw new UserError(
      `Cannot use the images of ${path}: expected ${IMAGES} of |u1 and shape (images, height, width, 3), found ` +
        `${entry.dtype} and (${entry.shape.join(", ")})`,
    );
  }
  const content = await placeOf(file, entry, options.cacheDirectory);
  const labels = await labelsOf(file, images);
  const all = Array.from({ length: images }, (_, index) => ({ name: `${IMAGES}/${index}`, index }));
  const taken = options.split === "all" ? all : takeSplit(all, options.split);
  const list = new NpzList({
    ...content,
    width,
    height,
    indices: Uint32Array.from(taken, ({ index }) => index),
    labels,
    fingerprint: await fingerprint(path, options.split),
  });
  return new ImageFiles(`the images of ${path}`, list, options);
}

/** What the file looked like: its content is too long to be hashed. */
async function fingerprint(path: string, split: string): Promise<string> {
  const { size, mtime } = await Deno.stat(path);
  const key = JSON.stringify([await Deno.realPath(path), size, mtime?.getTime(), split]);
  return createHash("sha256").update(key).digest("hex");
}

/** Where the samples lie: in the file itself, or unpacked in the cache. */
async function placeOf(
  file: NpzReader,
  entry: NpzEntry,
  cacheDirectory: string | null,
): Promise<{ path: string; startByte: number }> {
  if (entry.startByte !== null) return { path: file.path, startByte: entry.startByte };
  if (cacheDirectory === null) {
    throw new UserError(
      `Cannot use the images of ${file.path}: expected them uncompressed, as numpy.savez writes them, found compressed ` +
        `ones and no cache folder to unpack them into`,
    );
  }
  const name = await fingerprint(file.path, "unpacked");
  const path = `${cacheDirectory}/npz/${name.slice(0, 24)}.bin`;
  const bytes = entry.shape.reduce((product, size) => product * size, 1);
  const kept = await Deno.stat(path).catch(() => undefined);
  if (kept?.size !== bytes) {
    await Deno.mkdir(`${cacheDirectory}/npz`, { recursive: true });
    await writeFileAtomically(path, file.chunks(IMAGES));
  }
  return { path, startByte: 0 };
}

async function labelsOf(file: NpzReader, images: number): Promise<Uint32Array> {
  if (!file.entries.has(LABELS)) return new Uint32Array(images);
  const { dtype, shape } = file.entry(LABELS);
  const wrong = (found: string): UserError =>
    new UserError(
      `Cannot use the classes of ${file.path}: expected ${LABELS} of ${images} whole numbers under ${MOST_CLASSES}, ` +
        `found ${found}`,
    );
  const read = LABEL_READERS.get(dtype);
  if (!read || shape.length !== 1 || shape[0] !== images) {
    throw wrong(`${dtype} and (${shape.join(", ")})`);
  }
  const labels = Array.from(read((await file.bytes(LABELS)).buffer), Number);
  const strange = labels.find((label) => label < 0 || label >= MOST_CLASSES);
  if (strange !== undefined) throw wrong(String(strange));
  return Uint32Array.from(labels);
}

/** Whole numbers by NumPy's name of their type. */
const LABEL_READERS: ReadonlyMap<string, (buffer: ArrayBuffer) => Iterable<number | bigint>> =
  new Map<string, (buffer: ArrayBuffer) => Iterable<number | bigint>>([
    ["|u1", (buffer) => new Uint8Array(buffer)],
    ["<i4", (buffer) => new Int32Array(buffer)],
    ["<u4", (buffer) => new Uint32Array(buffer)],
    ["<i8", (buffer) => new BigInt64Array(buffer)],
    ["<u8", (buffer) => new BigUint64Array(buffer)],
  ]);

interface NpzContent {
  readonly path: string;
  readonly startByte: number;
  readonly width: number;
  readonly height: number;
  /** Which images, shape (images of the split). */
  readonly indices: Uint32Array;
  /** Class of each image of the file. */
  readonly labels: Uint32Array;
  readonly fingerprint: string;
}

class NpzList implements ImageList {
  readonly classNames: readonly string[];
  readonly length: number;
  readonly identity: string;
  readonly #content: NpzContent;

  constructor(content: NpzContent) {
    this.#content = content;
    this.length = content.indices.length;
    this.identity = content.fingerprint;
    const classes = content.labels.reduce((most, label) => Math.max(most, label + 1), 1);
    this.classNames = Array.from({ length: classes }, (_, label) => String(label));
  }

  label(index: number): number {
    return this.#content.labels[this.#at(index)] ?? 0;
  }

  name(index: number): string {
    return `${IMAGES}/${this.#at(index)}`;
  }

  place(index: number): ImagePlace {
    const { path, startByte, width, height } = this.#content;
    const lengthBytes = width * height * 3;
    return {
      path,
      range: { startByte: startByte + this.#at(index) * lengthBytes, lengthBytes },
      raw: { width, height },
    };
  }

  #at(index: number): number {
    checkIndex(index, this);
    return this.#content.indices[index] ?? 0;
  }
}

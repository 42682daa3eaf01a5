/** Lists of images with their classes, packed so that millions of them take little memory and open at once. @module */

import { createHash } from "node:crypto";
import { TAR_BLOCK_BYTES } from "../files/tar.ts";
import { checkIndex } from "./dataset.ts";
import type { ImagePlace } from "./prepare.ts";

/** The images of one split: what they are called, which class they have and where they lie. */
export interface ImageList {
  /** Name of each class; labels are indices into it. */
  readonly classNames: readonly string[];
  /** Number of images. */
  readonly length: number;
  /** A hash of classes, names and labels. */
  readonly identity: string;
  /** Class of an image. */
  label(index: number): number;
  /** Unique name of an image. */
  name(index: number): string;
  /** Where an image lies. */
  place(index: number): ImagePlace;
}

/** What a {@linkcode NamedImages} is made of. */
export interface NamedImagesContent {
  /** Name of each class. */
  readonly classNames: readonly string[];
  /** UTF-8 of all names, one after the other. */
  readonly names: Uint8Array<ArrayBuffer>;
  /** Where each name ends in `names`, shape (images). */
  readonly ends: Uint32Array<ArrayBuffer>;
  /** Class of each image, shape (images). */
  readonly labels: Uint32Array<ArrayBuffer>;
  /** Where the images lie, if they are no files of their own. */
  readonly members?: ArchiveMembers;
}

/** Places of images in archives. */
export interface ArchiveMembers {
  /** Paths of the archives. */
  readonly archives: readonly string[];
  /** Archive of each image, shape (images). */
  readonly archive: Uint32Array<ArrayBuffer>;
  /** Where each image starts, in blocks of a tar archive, shape (images). */
  readonly startBlock: Uint32Array<ArrayBuffer>;
  /** Bytes of each image, shape (images). */
  readonly lengthBytes: Uint32Array<ArrayBuffer>;
}

/**
 * Packs names and labels.
 *
 * @param classNames Name of each class.
 * @param images Name and class of each image, in order.
 * @returns The packed form: about 30 bytes an image of ImageNet.
 * @throws {RangeError} If the names together have 4 GiB or more.
 */
export function packNames(
  classNames: readonly string[],
  images: readonly { readonly name: string; readonly label: number }[],
): NamedImagesContent {
  const ends = new Uint32Array(images.length);
  const labels = Uint32Array.from(images, (image) => image.label);
  const encoder = new TextEncoder();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let end = 0;
  for (let start = 0; start < images.length; start += NAMES_AT_ONCE) {
    const encoded = images.slice(start, start + NAMES_AT_ONCE).map(({ name }, i) => {
      const bytes = encoder.encode(name);
      end += bytes.length;
      ends[start + i] = end;
      return bytes;
    });
    parts.push(join(encoded));
  }
  if (end >= 2 ** 32) {
    throw new RangeError(`Cannot list ${images.length} images: names of ${end} bytes`);
  }
  return { classNames, names: join(parts), ends, labels };
}

/** Names that are encoded before they are joined, so that not every name has a buffer of its own. */
const NAMES_AT_ONCE = 10_000;

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Images that are files, named by their paths below one folder, or members of archives. */
export class NamedImages implements ImageList {
  readonly classNames: readonly string[];
  readonly length: number;
  readonly identity: string;
  readonly #root: string;
  readonly #content: NamedImagesContent;
  readonly #decoder = new TextDecoder();

  /**
   * Takes a packed list.
   *
   * @param root Folder of the files; archives have whole paths.
   * @param content Names and labels.
   */
  constructor(root: string, content: NamedImagesContent) {
    this.#root = root;
    this.#content = content;
    this.classNames = content.classNames;
    this.length = content.ends.length;
    this.identity = identityOf(content);
  }

  label(index: number): number {
    checkIndex(index, this);
    return this.#content.labels[index] ?? 0;
  }

  name(index: number): string {
    const archive = this.#archiveOf(index);
    return archive === undefined ? this.#ownName(index) : `${archive}/${this.#ownName(index)}`;
  }

  place(index: number): ImagePlace {
    const archive = this.#archiveOf(index);
    if (archive === undefined) return { path: `${this.#root}/${this.#ownName(index)}` };
    const { startBlock, lengthBytes } = this.#content.members ?? {};
    const startByte = (startBlock?.[index] ?? 0) * TAR_BLOCK_BYTES;
    return {
      path: archive,
      range: { startByte, lengthBytes: lengthBytes?.[index] ?? 0 },
    };
  }

  #archiveOf(index: number): string | undefined {
    const { archives, archive } = this.#content.members ?? {};
    return archives?.[archive?.[index] ?? 0];
  }

  #ownName(index: number): string {
    checkIndex(index, this);
    const { names, ends } = this.#content;
    return this.#decoder.decode(names.subarray(ends[index - 1] ?? 0, ends[index]));
  }
}

/**
 * Hashes a list.
 *
 * @param content Names and labels.
 * @returns SHA-256 in hexadecimal.
 */
export function identityOf(content: NamedImagesContent): string {
  const { classNames, names, ends, labels, members } = content;
  const hash = createHash("sha256")
    .update(JSON.stringify({ classNames, images: ends.length, archives: members?.archives }))
    .update(names);
  const { archive, startBlock, lengthBytes } = members ?? {};
  for (const numbers of [ends, labels, archive, startBlock, lengthBytes]) {
    if (numbers) {
      hash.update(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
    }
  }
  return hash.digest("hex");
}

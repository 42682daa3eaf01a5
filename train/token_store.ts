/**
 * The tokens of one split of a data set on the disk: shards of some images each, written one after the other and read by rows,
 * so that neither encoding nor training holds them all in memory.
 *
 * @module
 */
import { UserError } from "./errors.ts";
import { fileError } from "./files/file_error.ts";
import { SafetensorsReader, writeSafetensors } from "./files/safetensors.ts";
import type { TokenSource, TokenSplit } from "./tokens.ts";

/** What the shards of a split have in common. */
export interface TokenLayout {
  /** Folder of the shards; its name should tell the key. */
  readonly folder: string;
  /** Everything the tokens depend on; shards of another key are written anew. */
  readonly key: string;
  /** Number of images. */
  readonly images: number;
  /** Ways in which each image was seen. */
  readonly views: number;
  /** Tokens of one view of an image. */
  readonly tokensPerImage: number;
  /** Number of codes: up to 65,536 a token has two bytes, above that four. */
  readonly codes: number;
  /** Images of a shard; the last one has fewer. */
  readonly imagesPerShard: number;
}

const FORMAT = "tessera.tokens.2";

/** Above this many codes a token does not fit two bytes. */
const MOST_SHORT_CODES = 65_536;

/** Shards that are open at the same time. */
const OPEN_SHARDS = 64;

/**
 * Counts the shards of a split.
 *
 * @param layout The split.
 * @returns How many there are when it is complete.
 */
export function shardCount({ images, imagesPerShard }: TokenLayout): number {
  return Math.ceil(images / imagesPerShard);
}

/**
 * Says which images are in a shard.
 *
 * @param layout The split.
 * @param shard Number of the shard, from 0.
 * @returns The first image, and the one behind the last.
 */
export function shardRange(layout: TokenLayout, shard: number): { start: number; end: number } {
  const start = shard * layout.imagesPerShard;
  return { start, end: Math.min(layout.images, start + layout.imagesPerShard) };
}

function shardPath({ folder }: TokenLayout, shard: number): string {
  return `${folder}/${String(shard).padStart(5, "0")}.safetensors`;
}

/**
 * Writes a shard.
 *
 * @param layout The split.
 * @param shard Number of the shard.
 * @param content Tokens, shape (images, views, tokens an image), and labels, shape (images).
 * @throws {UserError} If the file cannot be written.
 */
export async function writeShard(
  layout: TokenLayout,
  shard: number,
  { tokens, labels }: TokenSplit,
): Promise<void> {
  const { views, tokensPerImage, codes } = layout;
  const shape = [labels.length, views, tokensPerImage];
  const short = codes <= MOST_SHORT_CODES;
  await writeSafetensors(shardPath(layout, shard), [
    {
      name: "tokens",
      dtype: short ? "U16" : "U32",
      shape,
      data: short ? Uint16Array.from(tokens) : tokens,
    },
    { name: "labels", dtype: "U32", shape: [labels.length], data: labels },
  ], { metadata: { format: FORMAT, key: layout.key } });
}

/** A shard that was found complete. */
export interface FoundShard {
  /** The file. */
  readonly path: string;
  /** Where the tokens start in the file. */
  readonly startByte: number;
  /** Class of each image. */
  readonly labels: Uint32Array;
}

/**
 * Looks at a shard.
 *
 * @param layout The split.
 * @param shard Number of the shard.
 * @returns What it holds; undefined if it is missing, damaged, or of another key.
 */
export async function readShard(
  layout: TokenLayout,
  shard: number,
): Promise<FoundShard | undefined> {
  const path = shardPath(layout, shard);
  const { start, end } = shardRange(layout, shard);
  try {
    using file = await SafetensorsReader.open(path);
    const { shape, dtype, startByte } = file.entry("tokens");
    const wanted = [end - start, layout.views, layout.tokensPerImage];
    const wantedType = layout.codes <= MOST_SHORT_CODES ? "U16" : "U32";
    const fits = file.metadata.get("format") === FORMAT &&
      file.metadata.get("key") === layout.key &&
      dtype === wantedType && shape.join() === wanted.join();
    if (!fits) return undefined;
    return { path, startByte, labels: new Uint32Array((await file.bytes("labels")).buffer) };
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/** A complete split, read row by row. */
export class TokenStore implements TokenSource, Disposable {
  readonly labels: Uint32Array<ArrayBuffer>;
  readonly #layout: TokenLayout;
  readonly #shards: readonly FoundShard[];
  readonly #open = new Map<number, Deno.FsFile>();
  #counts: Float64Array | undefined;

  private constructor(layout: TokenLayout, shards: readonly FoundShard[]) {
    this.#layout = layout;
    this.#shards = shards;
    this.labels = new Uint32Array(layout.images);
    shards.forEach(({ labels }, i) => this.labels.set(labels, shardRange(layout, i).start));
  }

  /**
   * Opens a split.
   *
   * @param layout The split.
   * @returns The tokens; undefined if a shard is missing, damaged, or of another key.
   */
  static async open(layout: TokenLayout): Promise<TokenStore | undefined> {
    const shards: FoundShard[] = [];
    for (let shard = 0; shard < shardCount(layout); shard++) {
      const found = await readShard(layout, shard);
      if (!found) return undefined;
      shards.push(found);
    }
    return new TokenStore(layout, shards);
  }

  get views(): number {
    return this.#layout.views;
  }

  get tokensPerImage(): number {
    return this.#layout.tokensPerImage;
  }

  take(images: ArrayLike<number>, views?: ArrayLike<number>): TokenSplit {
    const { tokensPerImage, imagesPerShard } = this.#layout;
    const tokens = new Uint32Array(images.length * tokensPerImage);
    const labels = new Uint32Array(images.length);
    for (let row = 0; row < images.length; row++) {
      const image = images[row] ?? 0;
      if (!(image < this.labels.length)) {
        throw new RangeError(
          `Cannot take image ${image}: expected less than ${this.labels.length}`,
        );
      }
      const inShard = (image % imagesPerShard) * this.views + (views?.[row] ?? 0);
      const found = this.#read(Math.floor(image / imagesPerShard), inShard, 1);
      tokens.set(found, row * tokensPerImage);
      labels[row] = this.labels[image] ?? 0;
    }
    return { tokens, labels };
  }

  counts(): Float64Array {
    if (this.#counts) return this.#counts;
    const { codes, views } = this.#layout;
    const counts = new Float64Array(codes);
    for (let shard = 0; shard < this.#shards.length; shard++) {
      const { start, end } = shardRange(this.#layout, shard);
      for (const token of this.#read(shard, 0, (end - start) * views)) {
        if (token >= codes) {
          throw this.#damaged(shard, `expected tokens under ${codes}, found ${token}`);
        }
        counts[token] = (counts[token] ?? 0) + 1;
      }
    }
    return this.#counts = counts;
  }

  /** Closes the shards. */
  [Symbol.dispose](): void {
    for (const file of this.#open.values()) file.close();
    this.#open.clear();
  }

  /** Reads rows of tokens of a shard; a row is a view of an image. */
  #read(shard: number, firstRow: number, rows: number): Uint16Array | Uint32Array {
    const { tokensPerImage, codes } = this.#layout;
    const tokenBytes = codes <= MOST_SHORT_CODES ? 2 : 4;
    const rowBytes = tokensPerImage * tokenBytes;
    const bytes = new Uint8Array(rows * rowBytes);
    const start = (this.#shards[shard]?.startByte ?? 0) + firstRow * rowBytes;
    try {
      const file = this.#file(shard);
      file.seekSync(start, Deno.SeekMode.Start);
      for (let filled = 0; filled < bytes.length;) {
        const count = file.readSync(bytes.subarray(filled));
        if (count === null) {
          throw this.#damaged(shard, `expected ${bytes.length} bytes at byte ${start}, found less`);
        }
        filled += count;
      }
    } catch (cause) {
      if (cause instanceof UserError) throw cause;
      throw fileError(`read ${this.#shards[shard]?.path}`, cause);
    }
    return tokenBytes === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
  }

  /** The open file of a shard; the one that was opened first is closed when there are too many. */
  #file(shard: number): Deno.FsFile {
    const open = this.#open.get(shard);
    if (open) return open;
    const file = Deno.openSync(shardPath(this.#layout, shard));
    this.#open.set(shard, file);
    const [oldest] = this.#open;
    if (this.#open.size > OPEN_SHARDS && oldest) {
      oldest[1].close();
      this.#open.delete(oldest[0]);
    }
    return file;
  }

  #damaged(shard: number, problem: string): UserError {
    return new UserError(`Cannot read ${this.#shards[shard]?.path}: ${problem}`);
  }
}

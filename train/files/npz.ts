/**
 * Reads and writes NumPy's `.npz` files (zip archives of arrays), chunk by chunk, above 4 GiB too.
 *
 * @module
 */
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "./atomic.ts";
import { FileSource, malformed } from "./byte_source.ts";
import {
  formatNpyHeader,
  NPY_PREFIX_BYTES,
  type NpyArray,
  npyDataBytes,
  parseNpyHeader,
} from "./npy.ts";
import { ZipArchive } from "./zip.ts";
import { zipChunks } from "./zip_writer.ts";

/** An array of an archive. */
export interface NpzEntry extends NpyArray {
  /** Its name, such as "arr_0". */
  readonly name: string;
  /** Byte of the file at which its elements start; null where they are compressed. */
  readonly startByte: number | null;
}

/** An array to be written. */
export interface NpzSource extends NpyArray {
  /** Its name, such as "arr_0". */
  readonly name: string;
  /** Its elements in order, in chunks of any size. */
  readonly data: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const SUFFIX = ".npy";

/** An array's place in an archive. */
interface Member {
  readonly entry: NpzEntry;
  /** Name of its file in the archive. */
  readonly file: string;
  /** Bytes of the header in front of its elements. */
  readonly dataStart: number;
}

/**
 * An open `.npz` file. The headers of its arrays are read at once, their elements when they are asked for.
 *
 * @example Usage
 * ```ts ignore
 * using file = await NpzReader.open("samples.npz");
 * console.log(file.entry("arr_0").shape); // [50000, 256, 256, 3]
 * for await (const bytes of file.chunks("arr_0")) console.log(bytes.length);
 * ```
 */
export class NpzReader implements Disposable {
  /** Path of the file. */
  readonly path: string;
  /** Arrays by name, in the order of the archive. */
  readonly entries: ReadonlyMap<string, NpzEntry>;
  readonly #source: FileSource;
  readonly #archive: ZipArchive;
  readonly #members: ReadonlyMap<string, Member>;

  private constructor(
    source: FileSource,
    archive: ZipArchive,
    members: ReadonlyMap<string, Member>,
  ) {
    this.path = source.name;
    this.#source = source;
    this.#archive = archive;
    this.#members = members;
    this.entries = new Map([...members].map(([name, { entry }]) => [name, entry]));
  }

  /**
   * Opens a file and reads the headers of its arrays.
   *
   * @param path The file.
   * @returns The open file; dispose of it after use.
   * @throws {UserError} If the file cannot be read, is damaged, or holds other things than arrays.
   */
  static async open(path: string): Promise<NpzReader> {
    const source = await FileSource.open(path);
    try {
      const archive = await ZipArchive.open(source, "npz file");
      return new NpzReader(source, archive, await openMembers(path, archive));
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Type, shape and place of an array.
   *
   * @param name Its name.
   * @returns Its entry.
   * @throws {UserError} If the file has no such array.
   */
  entry(name: string): NpzEntry {
    const entry = this.entries.get(name);
    if (entry) return entry;
    const found = [...this.entries.keys()].slice(0, 5).join(", ") || "none";
    throw new UserError(`Cannot read ${this.path}: expected an array ${name}, found ${found}`);
  }

  /**
   * Gives the elements of an array, little-endian, innermost axis contiguous. No more than a chunk or two is in memory,
   * and never more bytes are unpacked than the shape asks for.
   *
   * @param name Its name.
   * @returns Chunks of whatever size the archive gives; together exactly the array.
   * @throws {UserError} If the file has no such array or is damaged, which may be known only at the end.
   */
  async *chunks(name: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const entry = this.entry(name);
    const member = this.#members.get(name);
    if (!member) return;
    let skip = member.dataStart;
    let left = npyDataBytes(entry);
    for await (const chunk of this.#archive.chunks(member.file)) {
      const bytes = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - bytes.length;
      if (bytes.length > left) throw wrongLength(this.path, entry);
      left -= bytes.length;
      if (bytes.length > 0) yield bytes;
    }
    if (left > 0) throw wrongLength(this.path, entry);
  }

  /**
   * Reads a whole array.
   *
   * @param name Its name.
   * @returns Its elements, little-endian.
   * @throws {UserError} If the file has no such array or is damaged.
   */
  async bytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const chunk of this.chunks(name)) parts.push(chunk);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#source.close();
  }
}

async function openMembers(path: string, archive: ZipArchive): Promise<Map<string, Member>> {
  const members = new Map<string, Member>();
  for (const { name: file, sizeBytes, stored } of archive.members.values()) {
    const name = file.slice(0, -SUFFIX.length);
    if (!file.endsWith(SUFFIX)) {
      throw malformed(path, `expected arrays only, found ${JSON.stringify(file.slice(0, 60))}`);
    }
    const { dataStart, ...array } = parseNpyHeader(
      await prefixOf(archive, file),
      `array ${name} of ${path}`,
    );
    if (sizeBytes !== dataStart + npyDataBytes(array)) {
      throw wrongLength(path, { name, ...array });
    }
    const startByte = stored ? await archive.contentStart(file) + dataStart : null;
    members.set(name, { file, dataStart, entry: { name, startByte, ...array } });
  }
  return members;
}

/** The first unpacked bytes of a member. */
async function prefixOf(archive: ZipArchive, file: string): Promise<Uint8Array> {
  const prefix = new Uint8Array(NPY_PREFIX_BYTES);
  let filled = 0;
  for await (const chunk of archive.chunks(file)) {
    const part = chunk.subarray(0, prefix.length - filled);
    prefix.set(part, filled);
    filled += part.length;
    if (filled === prefix.length) break;
  }
  return prefix.subarray(0, filled);
}

function wrongLength(path: string, array: NpyArray & { readonly name: string }): UserError {
  return malformed(
    path,
    `expected the ${npyDataBytes(array)} bytes of the shape (${array.shape.join(", ")}) in array ` +
      `${array.name}, found another number`,
  );
}

/**
 * Writes a file atomically, uncompressed, as `numpy.savez` does; chunks are written as they come.
 *
 * @param path File to create or replace.
 * @param arrays Arrays in the order in which they are stored; each is asked for its data when it is its turn.
 * @returns Size of the file in bytes.
 * @throws {UserError} If the file cannot be written; the old one, if any, is untouched then.
 * @throws {TypeError} If an array's data is not as long as its shape says.
 */
export function writeNpz(path: string, arrays: readonly NpzSource[]): Promise<number> {
  const files = arrays.map((array) => ({
    name: array.name + SUFFIX,
    content: contentOf(array),
  }));
  return writeFileAtomically(path, zipChunks(files));
}

async function* contentOf(array: NpzSource): AsyncGenerator<Uint8Array> {
  yield formatNpyHeader(array);
  const expected = npyDataBytes(array);
  let found = 0;
  for await (const chunk of array.data) {
    found += chunk.length;
    if (found > expected) break;
    yield chunk;
  }
  if (found !== expected) {
    throw new TypeError(
      `Cannot write array ${array.name}: expected ${expected} bytes for ${array.dtype} of shape ` +
        `(${array.shape.join(", ")}), found ${found > expected ? "more" : found}`,
    );
  }
}

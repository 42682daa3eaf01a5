/**
 * Reads and writes NumPy's `.npz` files (zip archives of arrays), chunk by chunk, above 4 GiB too.
 *
 * @module
 */
import { Reader, ZipReader, ZipWriter } from "@zip.js/zip.js";
import { UserError } from "../errors.ts";
import { writeFileAtomically } from "./atomic.ts";
import { fileError } from "./file_error.ts";
import {
  formatNpyHeader,
  NPY_PREFIX_BYTES,
  type NpyArray,
  npyDataBytes,
  type NpyDtype,
  parseNpyHeader,
} from "./npy.ts";

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
const ZIP_OPTIONS = { useWebWorkers: false, checkSignature: true } as const;
const LOCAL_HEADER_BYTES = 30;

/** The part of zip.js's entry that is used here. */
interface ZipEntry {
  readonly filename: string;
  readonly directory: boolean;
  readonly offset: number;
  readonly compressionMethod: number;
  readonly encrypted: boolean;
  readonly uncompressedSize: number;
  getData?(writable: WritableStream<Uint8Array>, options: object): Promise<unknown>;
}

/** Bytes of an open file at any place, for zip.js; reads wait for each other, as they share one position. */
class FileReader extends Reader<Deno.FsFile> {
  readonly #file: Deno.FsFile;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(file: Deno.FsFile, sizeBytes: number) {
    super(file);
    this.#file = file;
    this.size = sizeBytes;
  }

  override readUint8Array(index: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const result = this.#turn.then(() => this.#readNow(index, length));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #readNow(index: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    // A hostile archive may announce any length: never more is allocated than the file has.
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - index)));
    await this.#file.seek(index, Deno.SeekMode.Start);
    let filled = 0;
    while (filled < bytes.length) {
      const count = await this.#file.read(bytes.subarray(filled));
      if (count === null) break;
      filled += count;
    }
    return bytes.subarray(0, filled);
  }
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
  readonly #file: Deno.FsFile;
  readonly #members: ReadonlyMap<string, { readonly zip: ZipEntry; readonly dataStart: number }>;

  private constructor(
    path: string,
    file: Deno.FsFile,
    members: ReadonlyMap<string, { zip: ZipEntry; dataStart: number; entry: NpzEntry }>,
  ) {
    this.path = path;
    this.#file = file;
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
    let file: Deno.FsFile | undefined;
    try {
      file = await Deno.open(path, { read: true });
      const { size, isDirectory } = await file.stat();
      if (isDirectory) throw new Deno.errors.IsADirectory();
      return new NpzReader(path, file, await openMembers(path, new FileReader(file, size)));
    } catch (cause) {
      file?.close();
      throw problemOf(path, cause);
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
    for await (const chunk of unpack(this.path, member.zip)) {
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
    this.#file.close();
  }
}

async function openMembers(
  path: string,
  reader: FileReader,
): Promise<Map<string, { zip: ZipEntry; dataStart: number; entry: NpzEntry }>> {
  const members = new Map<string, { zip: ZipEntry; dataStart: number; entry: NpzEntry }>();
  // Names that lead out of a folder are refused by zip.js; here none is ever used as a path.
  const archive = new ZipReader(reader, ZIP_OPTIONS);
  for await (const zip of archive.getEntriesGenerator() as AsyncIterable<ZipEntry>) {
    const name = zip.filename.slice(0, -SUFFIX.length);
    if (!zip.filename.endsWith(SUFFIX) || zip.directory) {
      throw damaged(
        path,
        `expected arrays only, found ${JSON.stringify(zip.filename.slice(0, 60))}`,
      );
    }
    if (zip.encrypted) throw damaged(path, `expected arrays without password, found ${name}`);
    if (members.has(name)) throw damaged(path, `expected each array once, found ${name} twice`);
    const { dataStart, ...array } = parseNpyHeader(
      await prefixOf(path, zip),
      `array ${name} of ${path}`,
    );
    if (zip.uncompressedSize !== dataStart + npyDataBytes(array)) {
      throw wrongLength(path, { name, ...array });
    }
    const stored = zip.compressionMethod === 0
      ? await contentStart(reader, zip.offset) + dataStart
      : null;
    members.set(name, { zip, dataStart, entry: { name, startByte: stored, ...array } });
  }
  return members;
}

/** Where a member's content starts: behind its local header, whose extra field has a length of its own. */
async function contentStart(reader: FileReader, offset: number): Promise<number> {
  const header = await reader.readUint8Array(offset, LOCAL_HEADER_BYTES);
  const view = new DataView(header.buffer);
  return offset + LOCAL_HEADER_BYTES + view.getUint16(26, true) + view.getUint16(28, true);
}

/** The first unpacked bytes of a member. */
async function prefixOf(path: string, zip: ZipEntry): Promise<Uint8Array> {
  const prefix = new Uint8Array(NPY_PREFIX_BYTES);
  let filled = 0;
  for await (const chunk of unpack(path, zip)) {
    const part = chunk.subarray(0, prefix.length - filled);
    prefix.set(part, filled);
    filled += part.length;
    if (filled === prefix.length) break;
  }
  return prefix.subarray(0, filled);
}

/** Unpacks a member; ends the unpacking where the reader ends early. */
async function* unpack(path: string, zip: ZipEntry): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  if (!zip.getData) return;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
  const stop = new AbortController();
  const done = zip.getData(writable, { ...ZIP_OPTIONS, signal: stop.signal }).then(
    () => undefined,
    async (cause: unknown) => {
      await writable.abort(cause).catch(() => {});
      return cause;
    },
  );
  try {
    for await (const chunk of readable) yield chunk;
  } catch (cause) {
    throw problemOf(path, cause);
  } finally {
    stop.abort();
    await done;
  }
}

function damaged(path: string, problem: string): UserError {
  return new UserError(`Cannot read ${path}: ${problem}`);
}

function wrongLength(path: string, array: NpyArray & { readonly name: string }): UserError {
  return damaged(
    path,
    `expected the ${npyDataBytes(array)} bytes of the shape (${array.shape.join(", ")}) in array ` +
      `${array.name}, found another number`,
  );
}

/** What is wrong with a file, from an error of the operating system or of the archive's reader. */
function problemOf(path: string, cause: unknown): UserError {
  if (cause instanceof UserError) return cause;
  const refused = Object.values(Deno.errors).some((kind) => cause instanceof kind);
  if (refused) return fileError(`read ${path}`, cause);
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new UserError(`Cannot read ${path}: expected an undamaged npz file, found "${reason}"`, {
    cause,
  });
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
  return writeFileAtomically(path, archiveOf(arrays));
}

async function* archiveOf(arrays: readonly NpzSource[]): AsyncGenerator<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = new ZipWriter(writable, {
    ...ZIP_OPTIONS,
    level: 0,
    zip64: true,
    extendedTimestamp: false,
    // As NumPy: the same arrays give the same bytes.
    lastModDate: new Date(1980, 0, 1),
  });
  const stop = new AbortController();
  const written = (async () => {
    for (const array of arrays) {
      const content = ReadableStream.from(contentOf(array));
      await writer.add(array.name + SUFFIX, content, { signal: stop.signal });
    }
    await writer.close();
  })().then(() => undefined, async (cause: unknown) => {
    await writable.abort(cause).catch(() => {});
    return cause;
  });
  try {
    for await (const chunk of readable) yield chunk;
  } finally {
    stop.abort();
    await written;
  }
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

export type { NpyArray, NpyDtype };

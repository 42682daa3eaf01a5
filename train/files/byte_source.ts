/**
 * Bytes at any place of a file or a buffer.
 *
 * @module
 */
import { UserError } from "../errors.ts";
import { fileError } from "./file_error.ts";

/** Where bytes come from: a file or a buffer. */
export interface ByteSource {
  /** What messages call it: the path of a file. */
  readonly name: string;
  /** Size of the whole. */
  readonly sizeBytes: number;
  /**
   * Reads a part.
   *
   * @param startByte Its first byte.
   * @param lengthBytes Its length.
   * @returns A copy of exactly that length.
   * @throws {UserError} If the source ends before or cannot be read.
   */
  read(startByte: number, lengthBytes: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Closes the file. */
  close(): void;
}

/** A buffer as a source. */
export class BufferSource implements ByteSource {
  readonly #bytes: Uint8Array;

  /**
   * Takes a buffer.
   *
   * @param bytes The whole; not copied.
   * @param name What messages call it.
   */
  constructor(bytes: Uint8Array, readonly name: string) {
    this.#bytes = bytes;
  }

  /** Size of the buffer. */
  get sizeBytes(): number {
    return this.#bytes.byteLength;
  }

  /** Copies a part. */
  read(startByte: number, lengthBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    try {
      assertWithin(this, startByte, lengthBytes);
    } catch (error) {
      return Promise.reject(error);
    }
    return Promise.resolve(
      new Uint8Array(this.#bytes.subarray(startByte, startByte + lengthBytes)),
    );
  }

  /** Does nothing. */
  close(): void {}
}

/** An open file as a source. */
export class FileSource implements ByteSource {
  readonly #file: Deno.FsFile;
  /** Reads share one file position, so each waits for the one before. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(file: Deno.FsFile, readonly name: string, readonly sizeBytes: number) {
    this.#file = file;
  }

  /**
   * Opens a file for reading at any place.
   *
   * @param path The file.
   * @returns The open file; close it after use.
   * @throws {UserError} If it cannot be read.
   */
  static async open(path: string): Promise<FileSource> {
    let file: Deno.FsFile | undefined;
    try {
      file = await Deno.open(path, { read: true });
      const { size, isDirectory } = await file.stat();
      if (isDirectory) throw new Deno.errors.IsADirectory();
      return new FileSource(file, path, size);
    } catch (cause) {
      file?.close();
      throw fileError(`read ${path}`, cause);
    }
  }

  /** Reads a part. */
  read(startByte: number, lengthBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const result = this.#turn.then(() => this.#readNow(startByte, lengthBytes));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #readNow(startByte: number, lengthBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    // Before anything is allocated: a damaged file may announce any length.
    assertWithin(this, startByte, lengthBytes);
    const bytes = new Uint8Array(lengthBytes);
    let filled = 0;
    try {
      await this.#file.seek(startByte, Deno.SeekMode.Start);
      while (filled < lengthBytes) {
        const count = await this.#file.read(bytes.subarray(filled));
        if (count === null) break;
        filled += count;
      }
    } catch (cause) {
      throw fileError(`read ${this.name}`, cause);
    }
    if (filled < lengthBytes) throw cutShort(this, startByte, lengthBytes, filled);
    return bytes;
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}

function assertWithin(source: ByteSource, startByte: number, lengthBytes: number): void {
  const available = Math.max(0, source.sizeBytes - startByte);
  if (lengthBytes > available) throw cutShort(source, startByte, lengthBytes, available);
}

function cutShort(
  { name }: ByteSource,
  startByte: number,
  lengthBytes: number,
  found: number,
): UserError {
  return malformed(
    name,
    `expected ${lengthBytes} bytes at byte ${startByte}, found ${found}: the file is cut short`,
  );
}

/**
 * Makes the error for a file that is not what it should be: `Cannot read x.safetensors: <problem>`.
 *
 * @param file Name of the file.
 * @param problem What was expected and what was found.
 * @returns The error to throw.
 */
export function malformed(file: string, problem: string): UserError {
  return new UserError(`Cannot read ${file}: ${problem}`);
}

/**
 * Shows a value of a damaged file in a message: shortened, as a hostile one may be large, and without control characters.
 *
 * @param value Anything.
 * @returns At most 60 characters.
 */
export function show(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    // A number of more than 53 bits, or something that contains itself.
    text = typeof value === "bigint" ? String(value) : typeof value;
  }
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/**
 * Zip archives (zip64 too), read in place: members by name, their bytes by range or chunk by chunk, checked against their
 * CRC-32. Nothing is unpacked to the disk, and no name is used as a path.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { Reader, ZipReader } from "@zip.js/zip.js";
import { UserError } from "../errors.ts";
import { type ByteSource, malformed, show } from "./byte_source.ts";

/** A file within an archive. */
export interface ZipMember {
  /** Its name. */
  readonly name: string;
  /** Its size, unpacked. */
  readonly sizeBytes: number;
  /** Its size in the archive. */
  readonly packedBytes: number;
  /** Whether it is stored as it is, so that parts of it can be read. */
  readonly stored: boolean;
}

/** The part of zip.js's entry that is used here. */
interface ZipEntry {
  readonly filename: string;
  readonly directory: boolean;
  readonly offset: number;
  readonly compressionMethod: number;
  readonly encrypted: boolean;
  readonly uncompressedSize: number;
  readonly compressedSize: number;
  readonly signature: number;
  getData?(writable: WritableStream<Uint8Array>, options: object): Promise<unknown>;
}

const ZIP_OPTIONS = { useWebWorkers: false, checkSignature: true } as const;
const LOCAL_HEADER_BYTES = 30;
const LOCAL_HEADER_SIGNATURE = 0x04034b50;
/** The largest part that zip.js may ask for at once, the directory of the archive: room for half a million members. */
const MAX_PART_BYTES = 2 ** 26;
/** Bytes read at once where content is only checked. */
const CHECK_BYTES = 2 ** 22;

/** A source for zip.js. */
class SourceReader extends Reader<ByteSource> {
  readonly #source: ByteSource;

  constructor(source: ByteSource) {
    super(source);
    this.#source = source;
    this.size = source.sizeBytes;
  }

  override readUint8Array(index: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    if (length > MAX_PART_BYTES) {
      throw malformed(
        this.#source.name,
        `expected a directory of at most ${MAX_PART_BYTES} bytes, found ${length}`,
      );
    }
    // zip.js looks at the end of the file with a window that may be larger than the file.
    const available = Math.max(0, Math.min(length, this.size - index));
    return this.#source.read(index, available);
  }
}

/** An archive's member with what is known of it. */
interface Member extends ZipMember {
  readonly entry: ZipEntry;
  /** Whether its content was found to have the right CRC-32. */
  checked: boolean;
}

/** An open archive. It does not own its source. */
export class ZipArchive {
  /** Members by name, in the order of the directory; folders are left out. */
  readonly members: ReadonlyMap<string, ZipMember>;
  readonly #source: ByteSource;
  readonly #kind: string;
  readonly #found: ReadonlyMap<string, Member>;

  private constructor(source: ByteSource, kind: string, members: ReadonlyMap<string, Member>) {
    this.#source = source;
    this.#kind = kind;
    this.#found = members;
    this.members = members;
  }

  /**
   * Reads the directory of an archive.
   *
   * @param source The archive.
   * @param kind What messages call it, such as "npz file".
   * @returns The archive.
   * @throws {UserError} If it is damaged, or has a member twice, with a password, or with a name that leads out of a folder.
   */
  static async open(source: ByteSource, kind: string): Promise<ZipArchive> {
    const members = new Map<string, Member>();
    try {
      const archive = new ZipReader(new SourceReader(source), ZIP_OPTIONS);
      for await (const entry of archive.getEntriesGenerator() as AsyncIterable<ZipEntry>) {
        if (entry.directory) continue;
        const { filename: name, uncompressedSize, compressedSize, compressionMethod } = entry;
        if (members.has(name)) {
          throw malformed(source.name, `expected each member once, found ${show(name)} twice`);
        }
        if (entry.encrypted) {
          throw malformed(source.name, `expected members without password, found ${show(name)}`);
        }
        members.set(name, {
          name,
          sizeBytes: uncompressedSize,
          packedBytes: compressedSize,
          stored: compressionMethod === 0,
          entry,
          checked: false,
        });
      }
    } catch (cause) {
      throw damaged(source.name, kind, cause);
    }
    return new ZipArchive(source, kind, members);
  }

  /**
   * Finds where the content of a stored member starts.
   *
   * @param name The member.
   * @returns Position in the source: behind its local header, whose extra field has a length of its own.
   * @throws {UserError} If there is no such member, it is compressed, or its header is damaged.
   */
  async contentStart(name: string): Promise<number> {
    const { entry, stored, sizeBytes, packedBytes } = this.#member(name);
    if (!stored || sizeBytes !== packedBytes) {
      throw malformed(this.#source.name, `expected ${show(name)} as it is, found it compressed`);
    }
    const header = await this.#source.read(entry.offset, LOCAL_HEADER_BYTES);
    const view = new DataView(header.buffer);
    if (view.getUint32(0, true) !== LOCAL_HEADER_SIGNATURE) {
      throw malformed(
        this.#source.name,
        `expected the header of ${show(name)} at byte ${entry.offset}, found something else`,
      );
    }
    return entry.offset + LOCAL_HEADER_BYTES + view.getUint16(26, true) + view.getUint16(28, true);
  }

  /**
   * Reads a part of a stored member. At the first read its whole content is checked against its CRC-32.
   *
   * @param name The member.
   * @param startByte First byte of the part, counted from the member's first.
   * @param lengthBytes Its length.
   * @returns A copy.
   * @throws {UserError} If there is no such part, the member is compressed, or its content is damaged.
   */
  async read(
    name: string,
    startByte: number,
    lengthBytes: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const member = this.#member(name);
    const start = await this.contentStart(name);
    if (startByte + lengthBytes > member.sizeBytes) {
      throw malformed(
        this.#source.name,
        `expected ${startByte + lengthBytes} bytes in ${show(name)}, found ${member.sizeBytes}`,
      );
    }
    const isWhole = startByte === 0 && lengthBytes === member.sizeBytes;
    if (!member.checked && !isWhole) await this.#check(member, start);
    const bytes = await this.#source.read(start + startByte, lengthBytes);
    if (!member.checked) this.#compare(member, crc32(bytes));
    return bytes;
  }

  /**
   * Unpacks a whole member.
   *
   * @param name The member.
   * @param maxBytes Largest size that is accepted.
   * @returns Its content.
   * @throws {UserError} If there is no such member, or it is larger or damaged.
   */
  async readAll(name: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const { sizeBytes, stored } = this.#member(name);
    if (sizeBytes > maxBytes) {
      throw malformed(
        this.#source.name,
        `expected at most ${maxBytes} bytes in ${show(name)}, found ${sizeBytes}`,
      );
    }
    if (stored) return await this.read(name, 0, sizeBytes);
    const bytes = new Uint8Array(sizeBytes);
    let filled = 0;
    for await (const chunk of this.chunks(name)) {
      if (filled + chunk.length > sizeBytes) filled = Infinity;
      else bytes.set(chunk, filled);
      filled += chunk.length;
      if (filled > sizeBytes) break;
    }
    if (filled === sizeBytes) return bytes;
    throw malformed(
      this.#source.name,
      `expected ${sizeBytes} bytes in ${show(name)}, found another number`,
    );
  }

  /**
   * Unpacks a member; ends the unpacking where the reader ends early.
   *
   * @param name The member.
   * @returns Its content in chunks of whatever size the archive gives.
   * @throws {UserError} If it is damaged, which may be known only at the end.
   */
  async *chunks(name: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { entry } = this.#member(name);
    if (!entry.getData) return;
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
    const stop = new AbortController();
    const done = entry.getData(writable, { ...ZIP_OPTIONS, signal: stop.signal }).then(
      () => undefined,
      async (cause: unknown) => {
        await writable.abort(cause).catch(() => {});
      },
    );
    try {
      for await (const chunk of readable) yield chunk;
    } catch (cause) {
      throw damaged(this.#source.name, this.#kind, cause);
    } finally {
      stop.abort();
      await done;
    }
  }

  #member(name: string): Member {
    const member = this.#found.get(name);
    if (member) return member;
    throw malformed(this.#source.name, `expected a member ${show(name)}, found none`);
  }

  async #check(member: Member, start: number): Promise<void> {
    let checksum = 0;
    for (let at = 0; at < member.sizeBytes; at += CHECK_BYTES) {
      const length = Math.min(CHECK_BYTES, member.sizeBytes - at);
      checksum = crc32(await this.#source.read(start + at, length), checksum);
    }
    this.#compare(member, checksum);
  }

  #compare(member: Member, checksum: number): void {
    const expected = member.entry.signature >>> 0;
    if (checksum !== expected) {
      throw malformed(
        this.#source.name,
        `expected the CRC-32 ${hex(expected)} of ${show(member.name)}, found ${
          hex(checksum)
        }: the file is damaged`,
      );
    }
    member.checked = true;
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}

/** What is wrong with an archive, from an error of zip.js. */
function damaged(file: string, kind: string, cause: unknown): UserError {
  if (cause instanceof UserError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new UserError(`Cannot read ${file}: expected an undamaged ${kind}, found "${reason}"`, {
    cause,
  });
}

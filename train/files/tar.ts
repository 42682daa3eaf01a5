/**
 * Finds the members of a tar archive without reading or unpacking them: the formats ustar, GNU and pax.
 *
 * Nothing is ever written to a disk, so a name is only a name; names that would lead out of a folder are refused all the same.
 *
 * @see https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
 *
 * @module
 */
import { fileError } from "./file_error.ts";

/** A file in an archive. */
export interface TarMember {
  /** Its name, with "/" between the parts. */
  readonly name: string;
  /** Byte of the archive at which its content starts, a multiple of 512. */
  readonly startByte: number;
  /** Bytes of its content. */
  readonly lengthBytes: number;
}

/** What an archive holds. */
export interface TarListing {
  /** Its files, in order; those before the damage where it is damaged. Folders and links are left out. */
  readonly members: readonly TarMember[];
  /** What is wrong with it, as "expected …, found …"; undefined if nothing is. */
  readonly problem: string | undefined;
}

/** Contents and headers start at multiples of this. */
export const TAR_BLOCK_BYTES = 512;

/** Longest name or extended header: no real one comes near, and a hostile length allocates no more than this. */
const MAX_EXTENSION_BYTES = 2 ** 20;

/** A file has one of these type flags. */
const FILE_TYPES = "0\x007";

/** Members whose length says nothing about the archive: links, devices, folders. */
const EMPTY_TYPES = "123456";

/** Extended headers of the whole archive, and long targets of links: of no use here. */
const SKIPPED_TYPES = "gK";

const LEADS_OUT = /^\/|^[A-Za-z]:|(^|\/)\.\.(\/|$)|\0|\\/;

/**
 * Lists an archive.
 *
 * @param path The archive.
 * @returns Its files; a damaged archive gives those before the damage, and what is wrong.
 * @throws {UserError} If the file cannot be read.
 */
export function listTar(path: string): TarListing {
  try {
    using file = Deno.openSync(path);
    const { size, isDirectory } = file.statSync();
    if (isDirectory) throw new Deno.errors.IsADirectory();
    return listFile(file, size);
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
}

/** What the members before say about the next one. */
interface Extension {
  name?: string;
  lengthBytes?: number;
}

/** Why a listing ends early. */
class Damage extends Error {}

function listFile(file: Deno.FsFile, sizeBytes: number): TarListing {
  const members: TarMember[] = [];
  try {
    let at = 0;
    let extension: Extension = {};
    for (;;) {
      const header = readBlock(file, { at, sizeBytes, lengthBytes: TAR_BLOCK_BYTES });
      if (header.every((byte) => byte === 0)) return { members, problem: undefined };
      checkSum(header, at);
      const type = String.fromCharCode(header[156] ?? 0);
      const lengthBytes = EMPTY_TYPES.includes(type)
        ? 0
        : extension.lengthBytes ?? numberAt(header, 124, 12, at);
      const startByte = at + TAR_BLOCK_BYTES;
      if (startByte + lengthBytes > sizeBytes) {
        throw new Damage(
          `expected ${lengthBytes} bytes at byte ${startByte}, found ${
            sizeBytes - startByte
          }: the archive is cut short`,
        );
      }
      if (type === "L" || type === "x") {
        const place = { at: startByte, sizeBytes, lengthBytes };
        extension = { ...extension, ...readExtension(file, type, place) };
      } else if (FILE_TYPES.includes(type)) {
        const name = extension.name ?? nameOf(header);
        if (LEADS_OUT.test(name)) {
          throw new Damage(
            `expected names inside the archive, found ${JSON.stringify(name.slice(0, 80))}`,
          );
        }
        members.push({ name, startByte, lengthBytes });
        extension = {};
      } else if (EMPTY_TYPES.includes(type)) {
        extension = {};
      } else if (!SKIPPED_TYPES.includes(type)) {
        const found = `a member of type ${JSON.stringify(type)} at byte ${at}`;
        throw new Damage(`expected files, folders and links, found ${found}`);
      }
      at = startByte + Math.ceil(lengthBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
    }
  } catch (error) {
    if (!(error instanceof Damage)) throw error;
    return { members, problem: error.message };
  }
}

/** Where some bytes are. */
interface Place {
  readonly at: number;
  readonly lengthBytes: number;
  readonly sizeBytes: number;
}

function readBlock(file: Deno.FsFile, { at, lengthBytes, sizeBytes }: Place): Uint8Array {
  if (at + lengthBytes > sizeBytes) {
    throw new Damage(`expected the archive's end or a header at byte ${at}, found the file's end`);
  }
  const bytes = new Uint8Array(lengthBytes);
  file.seekSync(at, Deno.SeekMode.Start);
  for (let filled = 0; filled < lengthBytes;) {
    const count = file.readSync(bytes.subarray(filled));
    if (count === null) throw new Damage(`expected ${lengthBytes} bytes at byte ${at}, found less`);
    filled += count;
  }
  return bytes;
}

/** The sum of a header's bytes, with its own field taken as spaces, is in the header. */
function checkSum(header: Uint8Array, at: number): void {
  let sum = 0;
  for (let i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? 32 : header[i] ?? 0;
  if (sum !== parseNumber(header.subarray(148, 156))) {
    throw new Damage(`expected a tar header at byte ${at}, found other bytes`);
  }
}

function numberAt(header: Uint8Array, start: number, bytes: number, at: number): number {
  const value = parseNumber(header.subarray(start, start + bytes));
  if (value !== undefined) return value;
  throw new Damage(`expected a number in the header at byte ${at}, found other bytes`);
}

/** An octal number, or, as GNU writes large ones, a binary one whose first bit is set. */
function parseNumber(field: Uint8Array): number | undefined {
  if (field[0] === 0x80) {
    const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const text = new TextDecoder().decode(field).replace(/[\0 ]+$/, "").trimStart();
  if (!/^[0-7]*$/.test(text)) return undefined;
  return text === "" ? 0 : parseInt(text, 8);
}

function nameOf(header: Uint8Array): string {
  const name = textAt(header, 0, 100);
  const isUstar = textAt(header, 257, 6) === "ustar" && header[263] === 0x30;
  const prefix = isUstar ? textAt(header, 345, 155) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function textAt(bytes: Uint8Array, start: number, length: number): string {
  const field = bytes.subarray(start, start + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end === -1 ? field : field.subarray(0, end));
}

/** GNU's long name (type L), or pax's records "LENGTH KEY=VALUE\n" (type x), for the next member. */
function readExtension(file: Deno.FsFile, type: string, place: Place): Extension {
  if (place.lengthBytes > MAX_EXTENSION_BYTES) {
    throw new Damage(
      `expected an extended header of at most ${MAX_EXTENSION_BYTES} bytes, found ${place.lengthBytes}`,
    );
  }
  const bytes = readBlock(file, place);
  if (type === "L") return { name: textAt(bytes, 0, bytes.length) };
  const extension: Extension = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(new TextDecoder().decode(bytes.subarray(at, Math.max(at, space))));
    if (space < 0 || !Number.isInteger(length) || length < 3 || at + length > bytes.length) {
      throw new Damage(
        `expected records in the extended header at byte ${place.at}, found other bytes`,
      );
    }
    const record = new TextDecoder().decode(bytes.subarray(space + 1, at + length - 1));
    const cut = record.indexOf("=");
    const value = record.slice(cut + 1);
    if (record.slice(0, cut) === "path") extension.name = value;
    if (record.slice(0, cut) === "size") {
      if (!/^\d{1,15}$/.test(value)) {
        throw new Damage(
          `expected a size in the extended header at byte ${place.at}, found "${
            value.slice(0, 20)
          }"`,
        );
      }
      extension.lengthBytes = Number(value);
    }
    at += length;
  }
  return extension;
}

/**
 * Writes files so that a reader sees either the old content or the whole new one, never a part.
 *
 * @module
 */
import { fileError } from "./file_error.ts";

/** What a file is made of: one buffer, a text, or several chunks of bytes that are made while writing. */
export type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Options of {@linkcode writeFileAtomically}. */
export interface AtomicWriteOptions {
  /** Opens the temporary file for writing; a test passes a device that is always full. */
  open?: (path: string) => Promise<Deno.FsFile>;
}

/** Splits a path into its folder (with the last separator, or empty) and its name. */
function splitPath(path: string): { folder: string; name: string } {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
  return { folder: path.slice(0, cut), name: path.slice(cut) };
}

/**
 * Name under which a file is written until it is complete.
 *
 * The name depends on the target alone, so what a killed process left is overwritten by the next write.
 *
 * @param path File to be written.
 * @returns Path in the same folder, hence on the same file system, so that the rename is atomic.
 */
export function temporaryPath(path: string): string {
  const { folder, name } = splitPath(path);
  return `${folder}.${name}.partial`;
}

function openForWriting(path: string): Promise<Deno.FsFile> {
  return Deno.open(path, { write: true, create: true, truncate: true });
}

async function removeQuietly(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch {
    // The first error is the one to report; a leftover is overwritten by the next write.
  }
}

/** Makes the rename itself durable. File systems without that notion refuse to open a folder. */
async function syncFolder(path: string): Promise<void> {
  try {
    using folder = await Deno.open(splitPath(path).folder || ".", { read: true });
    await folder.sync();
  } catch {
    // The content is on the disk; only the moment at which the new name becomes durable is unknown.
  }
}

function chunksOf(content: FileContent): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof content === "string") return [new TextEncoder().encode(content)];
  return content instanceof Uint8Array ? [content] : content;
}

/**
 * Checks that the folder of a file exists, before the work that makes the file.
 *
 * @param path File to be written later.
 * @throws {UserError} If there is no such folder.
 */
export async function requireFolderOf(path: string): Promise<void> {
  try {
    const { isDirectory } = await Deno.stat(splitPath(path).folder || ".");
    if (!isDirectory) throw new Deno.errors.NotADirectory();
  } catch (cause) {
    throw fileError(`write ${path}`, cause);
  }
}

/**
 * Writes a file under a temporary name in its own folder, flushes it to the disk, then renames it.
 *
 * Chunks are written as they come, so a checkpoint of several gigabytes needs one tensor of memory. If anything
 * fails, a chunk's producer included, the old file stays as it was and the temporary one is removed. Two processes
 * must not write the same path at the same time.
 *
 * @param path File to create or replace; its folder must exist.
 * @param content Text, bytes, or an (async) iterable of byte chunks.
 * @param options `open` replaces how the temporary file is opened.
 * @returns Number of bytes written.
 * @throws {UserError} If the operating system refuses: the message names the file and the cause.
 */
export async function writeFileAtomically(
  path: string,
  content: FileContent,
  options: AtomicWriteOptions = {},
): Promise<number> {
  const { open = openForWriting } = options;
  const temporary = temporaryPath(path);
  const refused = (cause: unknown) => fileError(`write ${path}`, cause);
  let writtenBytes = 0;
  try {
    const file = await open(temporary).catch((cause) => {
      throw refused(cause);
    });
    try {
      for await (const chunk of chunksOf(content)) {
        for (let offset = 0; offset < chunk.byteLength;) {
          offset += await file.write(chunk.subarray(offset)).catch((cause) => {
            throw refused(cause);
          });
        }
        writtenBytes += chunk.byteLength;
      }
      await file.sync().catch((cause) => {
        throw refused(cause);
      });
    } finally {
      file.close();
    }
    await Deno.rename(temporary, path).catch((cause) => {
      throw refused(cause);
    });
  } catch (error) {
    await removeQuietly(temporary);
    throw error;
  }
  await syncFolder(path);
  return writtenBytes;
}

/** Brings published weights into the cache: from files at hand, a mirror, or where they are published. @module */

import { UserError } from "../errors.ts";
import { writeFileAtomically } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { download, type DownloadOptions } from "./download.ts";
import { MIRROR_VARIABLE, pathOf, sha256Of, sizeOf, verify, wrongContent } from "./store.ts";
import { PRETRAINED, type PretrainedFile } from "./table.ts";

/** Where {@linkcode obtain} looks. */
export interface ObtainOptions extends DownloadOptions {
  /** Folder of the files. */
  readonly folder: string;
  /** A URL or a folder that has them under the same names; by default they come from where they are published. */
  readonly mirror?: string | undefined;
}

/**
 * Makes sure that a file is in the cache and is what was published.
 *
 * @param file Which file.
 * @param options Cache, mirror, tries.
 * @returns `present` if it was there, `fetched` if it was brought.
 * @throws {UserError} If it cannot be had, or something else was found in its place.
 */
export async function obtain(
  file: PretrainedFile,
  options: ObtainOptions,
): Promise<"present" | "fetched"> {
  const { folder, mirror } = options;
  const path = pathOf(file, folder);
  if (await sizeOf(path) !== undefined) {
    await verify(file, path);
    return "present";
  }
  await makeFolder(folder);
  if (mirror === undefined || mirror === "") await download(file, file.url, path, options);
  else if (/^https?:\/\//.test(mirror)) {
    await download(file, `${mirror.replace(/\/+$/, "")}/${file.file}`, path, options);
  } else await copyInto(file, pathOf(file, mirror), folder);
  return "fetched";
}

/**
 * Takes a file at hand into the cache, whatever it is called: its SHA-256 tells which one it is.
 *
 * @param source The file.
 * @param folder The cache.
 * @returns Which file it is.
 * @throws {UserError} If it is none of those known here.
 */
export async function adopt(source: string, folder: string): Promise<PretrainedFile> {
  const digest = await sha256Of(source);
  const file = Object.values(PRETRAINED).find(({ sha256 }) => digest.startsWith(sha256));
  if (!file) {
    const known = Object.values(PRETRAINED).map(({ name, sha256 }) =>
      `${name} (${sha256.slice(0, 8)}…)`
    );
    throw new UserError(
      `Cannot use ${source}: expected a SHA-256 that starts like that of ${
        known.join(", ")
      }, found ${digest.slice(0, 8)}…`,
    );
  }
  await makeFolder(folder);
  await writeFileAtomically(pathOf(file, folder), chunksOf(source));
  return file;
}

async function copyInto(file: PretrainedFile, source: string, folder: string): Promise<void> {
  if (await sizeOf(source) === undefined) {
    throw new UserError(
      `Cannot fetch ${file.name}: expected ${source}, as ${MIRROR_VARIABLE} says, found no such file`,
    );
  }
  const digest = await sha256Of(source);
  if (!digest.startsWith(file.sha256)) throw wrongContent(file, source, digest);
  await writeFileAtomically(pathOf(file, folder), chunksOf(source));
}

async function* chunksOf(path: string): AsyncGenerator<Uint8Array> {
  try {
    using file = await Deno.open(path, { read: true });
    for (;;) {
      const buffer = new Uint8Array(2 ** 20);
      const count = await file.read(buffer);
      if (count === null) return;
      yield buffer.subarray(0, count);
    }
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await Deno.mkdir(folder, { recursive: true });
  } catch (cause) {
    throw fileError(`make the folder ${folder}`, cause);
  }
}

/** Where published weights are kept, and whether they are whole. @module */

import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import type { PretrainedFile } from "./table.ts";

/** Names the folder of published weights, instead of the project's cache. */
export const FOLDER_VARIABLE = "TESSERA_WEIGHTS";
/** Names a mirror, a URL or a folder, in which the files have their names of the cache. */
export const MIRROR_VARIABLE = "TESSERA_WEIGHTS_MIRROR";

/**
 * Names the folder of published weights.
 *
 * @returns The value of {@linkcode FOLDER_VARIABLE}, or the project's cache.
 */
export function weightsFolder(): string {
  return Deno.env.get(FOLDER_VARIABLE) ||
    fileURLToPath(new URL("../../.cache/weights", import.meta.url));
}

/**
 * Names the place of a file, whether or not it is there.
 *
 * @param file Which file.
 * @param folder Folder of the files.
 * @returns Its path.
 */
export function pathOf({ file }: PretrainedFile, folder: string = weightsFolder()): string {
  return `${folder}/${file}`;
}

/**
 * Tells whether a file is there; of its content nothing is known.
 *
 * @param path The file.
 * @returns Its bytes, or undefined where there is no file.
 * @throws {UserError} If the operating system refuses to say.
 */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const { isFile, size } = await Deno.stat(path);
    return isFile ? size : undefined;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw fileError(`read ${path}`, cause);
  }
}

/**
 * Computes the SHA-256 of a file, piece by piece.
 *
 * @param path The file.
 * @returns Hexadecimal digits.
 * @throws {UserError} If it cannot be read.
 */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    using file = await Deno.open(path, { read: true });
    const buffer = new Uint8Array(2 ** 20);
    for (;;) {
      const count = await file.read(buffer);
      if (count === null) return hash.digest("hex");
      hash.update(buffer.subarray(0, count));
    }
  } catch (cause) {
    throw fileError(`read ${path}`, cause);
  }
}

/**
 * Gives the path of a file that is needed now.
 *
 * @param file Which file.
 * @param action What it is needed for, to follow "Cannot".
 * @returns Its path; its content is what was published.
 * @throws {UserError} If it is not there, or is not what was published: the message says how to get it.
 */
export async function requirePretrained(file: PretrainedFile, action: string): Promise<string> {
  const path = pathOf(file);
  if (await sizeOf(path) === undefined) {
    throw new UserError(
      `Cannot ${action}: expected ${file.name} at ${path}, found no such file; deno task weights ${file.name} fetches it`,
    );
  }
  await verify(file, path);
  return path;
}

/**
 * Checks that a file holds what was published.
 *
 * @param file Which file.
 * @param path Where it is.
 * @throws {UserError} If it holds anything else.
 */
export async function verify(file: PretrainedFile, path: string): Promise<void> {
  const found = await sha256Of(path);
  if (!found.startsWith(file.sha256)) throw wrongContent(file, path, found);
}

/**
 * Makes the error for a file with other content.
 *
 * @param file Which file.
 * @param place Where it came from.
 * @param found SHA-256 of what it holds.
 * @returns The error.
 */
export function wrongContent(file: PretrainedFile, place: string, found: string): UserError {
  return new UserError(
    `Cannot use ${place} as ${file.name}: expected a SHA-256 that starts with ${file.sha256}, found ${
      found.slice(0, Math.max(file.sha256.length, 8))
    }`,
  );
}

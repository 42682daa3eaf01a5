/** Hashes of large files, kept between runs. @module */

import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { makeFolder } from "../run_folder.ts";
import { writeFileAtomically } from "./atomic.ts";
import { fileError } from "./file_error.ts";
import { settledStamps, type Stamp, unchanged } from "./stamp.ts";

/** A hash that was kept. */
interface KeptHash {
  readonly stamps: readonly Stamp[];
  readonly hash: string;
}

/**
 * Hashes the content of files, or takes the hash from the cache where all have the time and the size that they had.
 *
 * The cache only saves time: where it cannot be read or written, nothing else happens.
 *
 * @param paths The files, in order.
 * @param cacheDirectory Folder for files that are kept between runs; null keeps nothing.
 * @returns SHA-256 of all their bytes, as hexadecimal text.
 * @throws {UserError} If a file cannot be read.
 */
export async function fileHash(
  paths: readonly string[],
  cacheDirectory: string | null,
): Promise<string> {
  const files = paths.map((path) => resolve(path));
  const name = createHash("sha256").update(JSON.stringify(files)).digest("hex").slice(0, 24);
  const folder = join(cacheDirectory ?? "", "hashes");
  const keptFile = join(folder, `${name}.json`);
  const kept = cacheDirectory === null ? undefined : await readKept(keptFile, files);
  if (kept !== undefined) return kept;
  const startMs = Date.now();
  const hash = await contentHash(files);
  const stamps = settledStamps(files, startMs);
  if (cacheDirectory === null || !stamps) return hash;
  try {
    await makeFolder(folder);
    await writeFileAtomically(keptFile, JSON.stringify({ stamps, hash } satisfies KeptHash));
  } catch {
    // Read-only folder or full disk: the next run reads the files again.
  }
  return hash;
}

async function readKept(path: string, files: readonly string[]): Promise<string | undefined> {
  try {
    const { stamps, hash }: KeptHash = JSON.parse(await Deno.readTextFile(path));
    const ofFiles = stamps.map(([file]) => file).join("\n") === files.join("\n");
    return ofFiles && /^[0-9a-f]{64}$/.test(hash) && unchanged(stamps) ? hash : undefined;
  } catch {
    return undefined;
  }
}

async function contentHash(files: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const path of files) {
    try {
      const file = await Deno.open(path);
      for await (const chunk of file.readable) hash.update(chunk);
    } catch (cause) {
      throw fileError(`read ${path}`, cause);
    }
  }
  return hash.digest("hex");
}

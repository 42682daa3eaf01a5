/** Tells by time and size whether files are still what they were. @module */

/** What a file or folder looked like: its path, milliseconds of its last change, bytes. */
export type Stamp = readonly [path: string, changedMs: number, sizeBytes: number];

/** A file that changed this recently may change again without a newer time. */
const SETTLED_MS = 2000;

/**
 * Looks at a file or folder.
 *
 * @param path The file or folder.
 * @returns Its stamp; null if there is none.
 */
export function stampOf(path: string): Stamp | null {
  try {
    const { mtime, size } = Deno.statSync(path);
    return [path, mtime?.getTime() ?? 0, size];
  } catch {
    return null;
  }
}

/**
 * Looks at files or folders that something was made from.
 *
 * @param paths The files or folders.
 * @param startMs When the making began, in milliseconds since 1970.
 * @returns Their stamps; null if one is missing, or changed so recently that a later change might not show.
 */
export function settledStamps(paths: readonly string[], startMs: number): Stamp[] | null {
  const stamps: Stamp[] = [];
  for (const path of paths) {
    const stamp = stampOf(path);
    if (!stamp || stamp[1] >= startMs - SETTLED_MS) return null;
    stamps.push(stamp);
  }
  return stamps;
}

/**
 * Tells whether files or folders are as they were.
 *
 * @param stamps What they looked like.
 * @returns Whether each has the same time and size.
 */
export function unchanged(stamps: readonly Stamp[]): boolean {
  return stamps.every(([path, changedMs, sizeBytes]) => {
    const now = stampOf(path);
    return now?.[1] === changedMs && now[2] === sizeBytes;
  });
}

/** Keeps computed pixels in a file between runs, and computes them again whenever the file is not exactly right. @module */

import { writeFileAtomically } from "../files/atomic.ts";

/** What is kept and where. */
export interface PixelCacheOptions {
  /** File of the cache; null keeps nothing. */
  readonly path: string | null;
  /** Everything the pixels depend on; a file with another key is replaced. */
  readonly key: string;
  /** Number of bytes of the pixels. */
  readonly pixelBytes: number;
}

/** Length of a SHA-256 digest; the file is a digest, then what it is the digest of: the key and the pixels. */
const DIGEST_BYTES = 32;

/**
 * Takes pixels from the cache, or computes and keeps them.
 *
 * The cache only saves time: where it cannot be read or written, the pixels are computed and nothing else happens.
 *
 * @param compute Makes the pixels.
 * @param options Which file, for which key.
 * @returns The pixels, `pixelBytes` long.
 */
export async function cachedPixels(
  compute: () => Promise<Uint8Array<ArrayBuffer>>,
  options: PixelCacheOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const { path, pixelBytes } = options;
  if (path === null) return compute();
  const key = new TextEncoder().encode(options.key);
  const kept = await read(path, key, pixelBytes);
  if (kept) return kept;
  const pixels = await compute();
  const content = new Uint8Array(DIGEST_BYTES + key.length + pixels.length);
  content.set(key, DIGEST_BYTES);
  content.set(pixels, DIGEST_BYTES + key.length);
  content.set(await digest(content.subarray(DIGEST_BYTES)));
  try {
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/") + 1) || ".", { recursive: true });
    await writeFileAtomically(path, content);
  } catch {
    // Read-only folder, full disk, or another process that writes the same file: the next run computes again.
  }
  return pixels;
}

async function read(
  path: string,
  key: Uint8Array,
  pixelBytes: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
  let content: Uint8Array<ArrayBuffer>;
  try {
    content = await Deno.readFile(path);
  } catch {
    return null;
  }
  if (content.length !== DIGEST_BYTES + key.length + pixelBytes) return null;
  const body = content.subarray(DIGEST_BYTES);
  if (!equal(body.subarray(0, key.length), key)) return null;
  return equal(content.subarray(0, DIGEST_BYTES), await digest(body))
    ? body.subarray(key.length)
    : null;
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/**
 * Writes zip archives, uncompressed, chunk by chunk, above 4 GiB too.
 *
 * @module
 */
import { ZipWriter } from "@zip.js/zip.js";

/** A file for an archive. */
export interface ZipSource {
  /** Its name. */
  readonly name: string;
  /** Its content, asked for when it is its turn. */
  readonly content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/**
 * Makes the bytes of an archive. The same files give the same bytes.
 *
 * @param files Files in order; their content is passed on as it comes.
 * @returns The archive in chunks.
 */
export async function* zipChunks(files: Iterable<ZipSource>): AsyncGenerator<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = new ZipWriter(writable, {
    useWebWorkers: false,
    level: 0,
    zip64: true,
    extendedTimestamp: false,
    // The first day that a zip archive can name.
    lastModDate: new Date(1980, 0, 1),
  });
  const stop = new AbortController();
  const written = (async () => {
    for (const { name, content } of files) {
      await writer.add(name, ReadableStream.from(content), { signal: stop.signal });
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

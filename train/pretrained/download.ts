/** Fetches a published file in as many tries as it takes, each where the one before was cut. @module */

import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import { sha256Of, sizeOf, wrongContent } from "./store.ts";
import type { PretrainedFile } from "./table.ts";

/** How {@linkcode download} goes about it. */
export interface DownloadOptions {
  /** Tries in a row that may bring nothing. Default 3. */
  readonly tries?: number;
  /** Milliseconds to wait before the second try; they double with each further one. Default 1000. */
  readonly pauseMs?: number;
  /** Milliseconds in which a server must say something. Default 60,000. */
  readonly silenceMs?: number;
  /** Called now and then with the bytes that are there, and with those of the whole file where the server tells. */
  readonly onProgress?: (bytes: number, total: number | undefined) => void;
}

/** What one request brought. */
interface Attempt {
  /** Whether the server ended the answer where it said it would. */
  readonly complete: boolean;
  /** Why not. */
  readonly reason?: string;
}

/** A request that another try would not help. */
class Refused extends Error {}

/**
 * Fetches a file from a URL.
 *
 * What has come is kept beside it under the ending `.part` and continued by the next try, in this process or a later one. The file has
 * its name only when it is whole and its SHA-256 is right. Other content is fetched once more from its start where it was continued, as the
 * beginning may have been of another file, and refused otherwise.
 *
 * @param file Which file.
 * @param url Where to fetch it.
 * @param path Where to put it.
 * @param options Tries and pauses.
 * @throws {UserError} If it cannot be fetched, or is not what was published.
 */
export async function download(
  file: PretrainedFile,
  url: string,
  path: string,
  options: DownloadOptions = {},
): Promise<void> {
  const part = `${path}.part`;
  const earlier = await sizeOf(part) !== undefined;
  const continued = await fetchAll(file, url, part, options) || earlier;
  let found = await sha256Of(part);
  if (!found.startsWith(file.sha256) && continued) {
    await Deno.remove(part);
    await fetchAll(file, url, part, options);
    found = await sha256Of(part);
  }
  if (!found.startsWith(file.sha256)) {
    await Deno.remove(part);
    throw wrongContent(file, url, found);
  }
  try {
    await Deno.rename(part, path);
  } catch (cause) {
    throw fileError(`write ${path}`, cause);
  }
}

/** Fetches what is missing; tells whether it took more than one request. */
async function fetchAll(
  file: PretrainedFile,
  url: string,
  part: string,
  options: DownloadOptions,
): Promise<boolean> {
  const { tries = 3, pauseMs = 1000 } = options;
  let reason = "";
  for (let idle = 0, requests = 1; idle < tries; requests++) {
    if (idle > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs * 2 ** (idle - 1)));
    const before = await sizeOf(part) ?? 0;
    const attempt = await request(file, url, part, options).catch((cause) => {
      if (cause instanceof UserError) throw cause;
      if (cause instanceof Refused) throw cannot(file, url, cause.message);
      return { complete: false, reason: reasonOf(cause) };
    });
    if (attempt.complete) return requests > 1;
    reason = attempt.reason ?? "the connection was cut";
    // A try that brought something was worth it: only those in a row that bring nothing are counted.
    idle = (await sizeOf(part) ?? 0) > before ? 0 : idle + 1;
  }
  throw cannot(file, url, reason);
}

/** What went wrong with a connection: of a failed fetch the cause tells it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message } = error.cause instanceof Error ? error.cause : error;
  return message.replace(/^error sending request for url \(.*?\): /, "");
}

function cannot(file: PretrainedFile, url: string, reason: string): UserError {
  return new UserError(
    `Cannot fetch ${file.name}: expected ${file.file} from ${url}, found "${reason}"`,
  );
}

/** Asks for the bytes behind those that are there and appends them. */
async function request(
  file: PretrainedFile,
  url: string,
  part: string,
  options: DownloadOptions,
): Promise<Attempt> {
  const { silenceMs = 60_000, onProgress } = options;
  const stop = new AbortController();
  let silence: ReturnType<typeof setTimeout> | undefined;
  const listen = (): void => {
    clearTimeout(silence);
    silence = setTimeout(() => stop.abort(new Error("the server fell silent")), silenceMs);
  };
  listen();
  try {
    const start = await sizeOf(part) ?? 0;
    // Positions are those of the file itself, not of a packed form of it.
    const headers = {
      "accept-encoding": "identity",
      ...(start > 0 && { range: `bytes=${start}-` }),
    };
    const response = await fetch(url, { headers, signal: stop.signal });
    const body = response.body;
    // Nothing lies behind the bytes that are there: the SHA-256 tells whether they are all.
    if (response.status === 416) {
      await body?.cancel();
      return { complete: true };
    }
    if (!response.ok || !body) {
      await body?.cancel();
      const said = `${response.status} ${response.statusText}`.trim();
      if (response.status < 500) throw new Refused(said);
      return { complete: false, reason: said };
    }
    const append = start > 0 && response.status === 206 && startsAt(response, start);
    if (response.status === 206 && !append) {
      await body.cancel();
      throw new Refused("an answer that starts elsewhere");
    }
    const first = append ? start : 0;
    const length = response.headers.get("content-length");
    const total = length === null ? undefined : first + Number(length);
    const most = file.mebibytes * 2 ** 21;
    if ((total ?? 0) > most) {
      await body.cancel();
      throw new Refused(`${total} bytes`);
    }
    const bytes = await write(part, body, {
      append,
      first,
      most,
      onChunk: (bytes) => {
        listen();
        onProgress?.(bytes, total);
      },
    });
    return { complete: total === undefined || bytes === total };
  } finally {
    clearTimeout(silence);
  }
}

function startsAt(response: Response, start: number): boolean {
  return response.headers.get("content-range")?.startsWith(`bytes ${start}-`) ?? false;
}

/** Writes an answer to disk as it comes; gives the bytes of the file. */
async function write(
  part: string,
  body: ReadableStream<Uint8Array>,
  options: { append: boolean; first: number; most: number; onChunk: (bytes: number) => void },
): Promise<number> {
  const { append, first, most, onChunk } = options;
  let bytes = first;
  using out = await Deno.open(part, { create: true, write: true, append, truncate: !append })
    .catch((cause) => {
      throw fileError(`write ${part}`, cause);
    });
  for await (const chunk of body) {
    if (bytes + chunk.length > most) throw new Refused(`more than ${most} bytes`);
    for (let offset = 0; offset < chunk.length;) {
      offset += await out.write(chunk.subarray(offset)).catch((cause) => {
        throw fileError(`write ${part}`, cause);
      });
    }
    bytes += chunk.length;
    onChunk(bytes);
  }
  await out.sync();
  return bytes;
}

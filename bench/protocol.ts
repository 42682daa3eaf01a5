/**
 * How the bench talks with its subjects, one process each: a JSON line a request on standard input, a JSON line an answer on standard
 * output. No imports but its neighbor, so that the peers' own configuration can use it.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import type { Case, CONSTANTS } from "./cases.ts";

/** What the bench asks. */
export type Request =
  /**
   * Make the inputs of a case, run it once and read its result. `folder` has the files that the cases of whole models share, and is
   * missing where the engine is alone; `constants` are for subjects that cannot import them.
   */
  | { do: "open"; case: Case; folder: string | undefined; constants: typeof CONSTANTS }
  /** Write the result of the open case's first run to a file: f32, the engine's layout. */
  | { do: "result"; file: string }
  /** Run the open case so often, and wait once. */
  | { do: "run"; repetitions: number }
  /** Give the open case's buffers back. */
  | { do: "close" };

/** What a subject says first. */
export interface Hello {
  /** Its name in the table. */
  name: string;
  /** Its version. */
  version: string;
  /** The adapter it computes on, or a word for what it computes on. */
  adapter: string;
}

/** Milliseconds of one repetition. */
export interface Timing {
  /** On the clock. */
  ms: number;
  /** Of the process's threads on all processors together: on a software adapter what the work costs, whatever else runs. */
  processorMs: number;
}

/** An answer; `open` and `run` have times, of the first run with the reading of its result, and of one repetition. */
export type Answer = { ok: true; timing?: Timing } | { ok: false; reason: string };

/** A case made ready by a subject. */
export interface OpenCase {
  /** Issues the work so often and waits once, at the end. */
  run(repetitions: number): Promise<void>;
  /** Gives what it computes, in the engine's layout. */
  result(): Promise<Float32Array<ArrayBuffer>>;
  /** Gives its buffers back. */
  close(): void | Promise<void>;
}

/** A program that can run cases. */
export interface Subject extends Hello {
  /**
   * Makes a case ready.
   *
   * @param wanted The case.
   * @param folder Has the files of whole models, or gets them from the engine.
   * @returns The case.
   * @throws {Unsupported} If the program has no such thing.
   */
  open(wanted: Case, folder: string | undefined): Promise<OpenCase>;
}

/** Thrown by a subject that has no such operation; everything else that it throws is a failure. */
export class Unsupported extends Error {}

/**
 * Answers the requests on standard input until it ends.
 *
 * @param start Makes the subject.
 */
export async function serve(start: () => Promise<Subject>): Promise<void> {
  // What libraries print must not come between the answers.
  const say = (answer: Hello | Answer): void => {
    const line = new TextEncoder().encode(`${JSON.stringify(answer)}\n`);
    for (let at = 0; at < line.length;) at += Deno.stdout.writeSync(line.subarray(at));
  };
  for (const method of ["log", "info", "warn", "debug"] as const) console[method] = console.error;
  const subject = await start();
  const { name, version, adapter } = subject;
  say({ name, version, adapter });
  let open: OpenCase | undefined;
  let result: Float32Array<ArrayBuffer> | undefined;
  const handle = async (request: Request): Promise<Answer> => {
    switch (request.do) {
      case "open": {
        const opened = await subject.open(request.case, request.folder);
        open = opened;
        const timing = await clock(1, async () => {
          result = await opened.result();
        });
        return { ok: true, timing };
      }
      case "result": {
        if (!result) throw new Error("expected a result, found none");
        await Deno.writeFile(request.file, new Uint8Array(result.buffer));
        result = undefined;
        return { ok: true };
      }
      case "run": {
        const { repetitions } = request;
        return { ok: true, timing: await clock(repetitions, () => opened(open).run(repetitions)) };
      }
      case "close": {
        const closing = open;
        open = result = undefined;
        await closing?.close();
        return { ok: true };
      }
    }
  };
  for await (const line of lines(Deno.stdin.readable)) {
    const request: Request = JSON.parse(line);
    try {
      say(await handle(request));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!(error instanceof Unsupported)) console.error(error);
      say({ ok: false, reason: reason.replaceAll(/\s+/g, " ").slice(0, 300) });
    }
  }
}

function opened(open: OpenCase | undefined): OpenCase {
  if (!open) throw new Error("expected an open case, found none");
  return open;
}

async function clock(repetitions: number, body: () => Promise<void>): Promise<Timing> {
  const begin = performance.now();
  const before = cpuUsage();
  await body();
  const { user, system } = cpuUsage(before);
  return {
    ms: (performance.now() - begin) / repetitions,
    processorMs: (user + system) / 1000 / repetitions,
  };
}

/**
 * Splits a stream into lines.
 *
 * @param stream Bytes of UTF-8.
 */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

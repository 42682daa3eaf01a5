/** A subject of the bench in a process of its own: starts it, asks it, ends it. @module */

import { type Answer, type Hello, lines, type Request, type Timing } from "./protocol.ts";

/** How to start a subject. */
export interface SubjectCommand {
  /** Name until it says its own. */
  readonly name: string;
  /** The program. */
  readonly program: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** What to do if it does not start. */
  readonly hint: string;
}

/** Thrown where a subject does not answer: it ended, or took too long. The process is gone then. */
export class SubjectError extends Error {}

/** How long a subject may take to start, downloads included, in milliseconds. */
const START_MS = 300_000;
/** So many last lines of its standard error are kept for the message. */
const KEPT_LINES = 12;

/** A running subject. */
export class SubjectProcess implements AsyncDisposable {
  /** What it said of itself. */
  readonly hello: Hello;
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncGenerator<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #errors: string[];

  private constructor(
    hello: Hello,
    child: Deno.ChildProcess,
    answers: AsyncGenerator<string>,
    errors: string[],
  ) {
    this.hello = hello;
    this.#child = child;
    this.#lines = answers;
    this.#writer = child.stdin.getWriter();
    this.#errors = errors;
  }

  /**
   * Starts a subject.
   *
   * @param command What to start.
   * @returns The subject, ready for requests.
   * @throws {SubjectError} If it does not start.
   */
  static async start(command: SubjectCommand): Promise<SubjectProcess> {
    const { program, args } = command;
    let child: Deno.ChildProcess;
    try {
      child = new Deno.Command(program, {
        args: [...args],
        // Its errors become part of a table.
        env: { NO_COLOR: "1" },
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    } catch (error) {
      throw new SubjectError(`${program} did not start: ${String(error)}`);
    }
    const errors: string[] = [];
    keepLines(child.stderr, errors);
    const answers = answerLines(child.stdout);
    const first = await within(answers.next(), START_MS);
    if (first === undefined || first.done) {
      kill(child);
      await child.status;
      throw new SubjectError(`it did not start (${command.hint}): ${errors.join(" ").slice(-300)}`);
    }
    return new SubjectProcess(JSON.parse(first.value), child, answers, errors);
  }

  /**
   * Asks and waits for the answer.
   *
   * @param request What.
   * @param limitMs How long it may take.
   * @returns Times, where the request gives some.
   * @throws {Error} If the subject answers that it failed, or has no such thing.
   * @throws {SubjectError} If it does not answer; it is ended then.
   */
  async ask(request: Request, limitMs: number): Promise<Timing | undefined> {
    let line: IteratorResult<string> | undefined;
    try {
      await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
      line = await within(this.#lines.next(), limitMs);
    } catch {
      // The pipe is broken: the process has ended.
      line = { done: true, value: undefined };
    }
    if (line === undefined || line.done) {
      const { code, signal } = await this.#end();
      throw new SubjectError(
        line === undefined
          ? `no result within ${Math.round(limitMs / 1000)} s`
          : `the process ended (${signal ?? `code ${code}`}): ${
            this.#errors.join(" ").slice(-300)
          }`,
      );
    }
    const answer: Answer = JSON.parse(line.value);
    if (!answer.ok) throw new Error(answer.reason);
    return answer.timing;
  }

  /** Ends the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await within(this.#child.status, 2000);
    await this.#end();
  }

  async #end(): Promise<Deno.CommandStatus> {
    kill(this.#child);
    const status = await this.#child.status;
    await this.#writer.abort().catch(() => {});
    await this.#lines.return(undefined);
    return status;
  }
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

/** Resolves to undefined where the promise takes longer. */
async function within<Value>(promise: Promise<Value>, limitMs: number): Promise<Value | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function keepLines(stream: ReadableStream<Uint8Array>, kept: string[]): Promise<void> {
  for await (const line of lines(stream)) {
    kept.push(line);
    if (kept.length > KEPT_LINES) kept.shift();
  }
}

/** Lines that are answers; what libraries print while they load is none. */
async function* answerLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  for await (const line of lines(stream)) if (line.startsWith("{")) yield line;
}

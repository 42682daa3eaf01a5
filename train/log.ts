/**
 * What a run says: one JSON object a line in a file, and messages for whoever watches.
 *
 * @module
 */
import { USER_ERROR_EXIT_CODE, UserError } from "./errors.ts";
import { writeFileAtomically } from "./files/atomic.ts";
import { fileError } from "./files/file_error.ts";

/** A value of a log line. */
export type LogValue = string | number | boolean | null | readonly LogValue[] | LogRecord;

/** One line of the log. */
export interface LogRecord {
  /** Any key. */
  readonly [key: string]: LogValue;
}

/** Options of {@linkcode RunLog.open}. */
export interface RunLogOptions {
  /** Last step that counts; lines of later steps, from a run that went on before it was interrupted, are dropped. */
  readonly resumeStep?: number;
}

/** JSON has no NaN and no infinity: they become texts, as a log must show them above all. */
function jsonLine(record: LogRecord): string {
  const text = JSON.stringify(
    record,
    (_, value: unknown) =>
      typeof value === "number" && !Number.isFinite(value) ? String(value) : value,
  );
  return `${text}\n`;
}

/** Tells whether a line of the log belongs to a run that resumes after `resumeStep`; a line cut short does not. */
function isKept(line: string, resumeStep: number): boolean {
  try {
    const record: unknown = JSON.parse(line);
    if (typeof record !== "object" || record === null) return false;
    return !("step" in record) || typeof record.step !== "number" || record.step <= resumeStep;
  } catch {
    return false;
  }
}

/** A file of JSON lines. Each line reaches the operating system before the call returns, so a killed run keeps it. */
export class RunLog implements Disposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #encoder = new TextEncoder();

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /**
   * Opens a log for appending; makes it if there is none.
   *
   * A line that a killed process left unfinished, and lines after the step from which a run resumes, are removed.
   *
   * @param path The file; its folder must exist.
   * @param options Step from which the run resumes.
   * @returns The open log.
   * @throws {UserError} If the file cannot be read or written.
   */
  static async open(path: string, options: RunLogOptions = {}): Promise<RunLog> {
    const { resumeStep = Infinity } = options;
    try {
      const old = await Deno.readTextFile(path).catch((error) => {
        if (error instanceof Deno.errors.NotFound) return "";
        throw error;
      });
      const kept = old.split("\n").filter((line) => isKept(line, resumeStep));
      const text = kept.map((line) => `${line}\n`).join("");
      if (text !== old) await writeFileAtomically(path, text);
      return new RunLog(path, await Deno.open(path, { append: true, create: true }));
    } catch (cause) {
      if (cause instanceof UserError) throw cause;
      throw fileError(`open the log ${path}`, cause);
    }
  }

  /**
   * Appends a line.
   *
   * @param record What to write; numbers that JSON cannot hold become texts.
   * @throws {UserError} If the disk is full or the file is gone.
   */
  write(record: LogRecord): void {
    const bytes = this.#encoder.encode(jsonLine(record));
    try {
      for (let offset = 0; offset < bytes.length;) {
        offset += this.#file.writeSync(bytes.subarray(offset));
      }
    } catch (cause) {
      throw fileError(`write the log ${this.#path}`, cause);
    }
  }

  /** Makes everything written so far survive a loss of power. */
  flush(): void {
    this.#file.syncDataSync();
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Options of {@linkcode Reporter}. */
export interface ReporterOptions {
  /** Whether errors are shown with their stack trace and their cause; default false. */
  readonly debug?: boolean;
  /** Where lines go; standard error by default. */
  readonly writeLine?: (line: string) => void;
}

/**
 * Writes a line to standard error, where everything that is not a command's result goes.
 *
 * @param line The line.
 */
export function printLine(line: string): void {
  console.error(line);
}

/**
 * Writes a line to standard output: a command's result.
 *
 * @param line The line.
 */
export function printResult(line: string): void {
  console.log(line);
}

function errorText(error: unknown, debug: boolean): string {
  if (!(error instanceof Error)) return String(error);
  if (!debug) return error.message || error.name;
  const cause = error.cause === undefined ? "" : `\ncaused by ${errorText(error.cause, debug)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** Says things to whoever watches a run, on standard error. */
export class Reporter {
  readonly #debug: boolean;
  readonly #writeLine: (line: string) => void;
  readonly #warned = new Set<string>();

  /**
   * Starts with nothing warned about.
   *
   * @param options Whether to show stack traces, and where lines go.
   */
  constructor(options: ReporterOptions = {}) {
    this.#debug = options.debug ?? false;
    this.#writeLine = options.writeLine ?? printLine;
  }

  /**
   * Says something.
   *
   * @param text One or more lines.
   */
  info(text: string): void {
    this.#writeLine(text);
  }

  /**
   * Warns; the same text is said once only.
   *
   * @param text One sentence.
   */
  warn(text: string): void {
    if (this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#writeLine(`warning: ${text}`);
  }

  /**
   * Says what went wrong: one message, with the stack trace in debug mode only.
   *
   * @param error What was thrown.
   * @returns Exit code of the process: 2 for a mistake of the user, 1 for anything else.
   */
  error(error: unknown): number {
    this.#writeLine(`error: ${errorText(error, this.#debug)}`);
    return error instanceof UserError ? USER_ERROR_EXIT_CODE : 1;
  }
}

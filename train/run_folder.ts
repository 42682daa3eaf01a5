/** Where a run keeps its files: one folder a run, in it one folder a stage. @module */

import { join } from "node:path";
import { UserError } from "./errors.ts";
import { fileError } from "./files/file_error.ts";

/** The two stages of a run, in order. */
export type StageName = (typeof STAGE_NAMES)[number];

/** Names of the stages, in order. */
export const STAGE_NAMES = ["tokenizer", "transformer"] as const;

/** Files of one stage: `config.yaml`, `log.jsonl`, `checkpoints/`, `images/`. */
export class StageFolder {
  /**
   * Names the folder; nothing is read or written.
   *
   * @param path The stage's folder.
   */
  constructor(readonly path: string) {}

  /** The resolved configuration. */
  get configFile(): string {
    return join(this.path, "config.yaml");
  }

  /** The log, one JSON object a line. */
  get logFile(): string {
    return join(this.path, "log.jsonl");
  }

  /** The trace of a profile. */
  get profileFile(): string {
    return join(this.path, "profile.json");
  }

  /** Tokens of the data set, written once (transformer only). */
  get tokensFolder(): string {
    return join(this.path, "tokens");
  }

  /**
   * Makes the folder and its parts.
   *
   * @throws {UserError} If that is not possible.
   */
  async create(): Promise<void> {
    for (const part of ["checkpoints", "images"]) await makeFolder(join(this.path, part));
  }

  /**
   * Tells when the stage changed last.
   *
   * @param options `trained`: only a checkpoint counts, not the configuration.
   * @returns Time of the newest checkpoint or the configuration in milliseconds; undefined if there is none.
   */
  async changedMs(options: { trained: boolean }): Promise<number | undefined> {
    const newest = (await this.checkpoints()).at(-1);
    const paths = options.trained ? [newest] : [newest, this.configFile];
    const times: number[] = [];
    for (const path of paths) {
      const info = path === undefined ? undefined : await statOf(path);
      if (info) times.push(info.mtime?.getTime() ?? 0);
    }
    return times.length > 0 ? Math.max(...times) : undefined;
  }

  /**
   * Names the checkpoint of a step.
   *
   * @param step Optimizer steps done.
   * @returns Its path; names sort by step.
   */
  checkpointFile(step: number): string {
    return join(this.path, "checkpoints", `step-${String(step).padStart(8, "0")}.safetensors`);
  }

  /**
   * Names a picture of a step.
   *
   * @param kind Such as `reconstructions`.
   * @param step Optimizer steps done.
   * @returns Its path.
   */
  imageFile(kind: string, step: number): string {
    return join(this.path, "images", `${kind}-${String(step).padStart(8, "0")}.png`);
  }

  /**
   * Lists the checkpoints.
   *
   * @returns Their paths, oldest first.
   */
  async checkpoints(): Promise<string[]> {
    const names: string[] = [];
    try {
      for await (const entry of Deno.readDir(join(this.path, "checkpoints"))) {
        if (/^step-\d{8}\.safetensors$/.test(entry.name)) names.push(entry.name);
      }
    } catch (cause) {
      if (!isAbsent(cause)) throw fileError(`read ${this.path}`, cause);
    }
    return names.sort().map((name) => join(this.path, "checkpoints", name));
  }

  /**
   * Finds the newest checkpoint.
   *
   * @returns Its path.
   * @throws {UserError} If there is none.
   */
  async newestCheckpoint(): Promise<string> {
    const newest = (await this.checkpoints()).at(-1);
    if (!newest) {
      throw new UserError(
        `Cannot open a checkpoint: expected checkpoints/step-*.safetensors in ${this.path}, found none`,
      );
    }
    return newest;
  }
}

/** One run: a folder with a stage folder for each stage that was started. */
export class RunFolder {
  /**
   * Names the folder; nothing is read or written.
   *
   * @param path The run's folder.
   */
  constructor(readonly path: string) {}

  /**
   * Makes a new run folder, named by date and time.
   *
   * @param root Where runs are kept.
   * @param now The time.
   * @returns The run.
   * @throws {UserError} If the folder cannot be made.
   */
  static async create(root: string, now: Date): Promise<RunFolder> {
    const part = (value: number): string => String(value).padStart(2, "0");
    const date = `${now.getFullYear()}-${part(now.getMonth() + 1)}-${part(now.getDate())}`;
    const time = `${part(now.getHours())}-${part(now.getMinutes())}-${part(now.getSeconds())}`;
    await makeFolder(root);
    for (let attempt = 1;; attempt++) {
      const path = join(root, `${date}_${time}${attempt > 1 ? `_${attempt}` : ""}`);
      try {
        await Deno.mkdir(path);
        return new RunFolder(path);
      } catch (cause) {
        if (!(cause instanceof Deno.errors.AlreadyExists)) throw fileError(`make ${path}`, cause);
      }
    }
  }

  /**
   * Opens a run, by default the one of those that have what is needed which changed last.
   *
   * @param root Where runs are kept.
   * @param options `path`: this run; `needs`: the stage that must have a checkpoint, by default any stage that was started.
   * @returns The run.
   * @throws {UserError} If there is no such run.
   */
  static async open(
    root: string,
    options: { path?: string; needs?: StageName } = {},
  ): Promise<RunFolder> {
    const { path, needs } = options;
    if (path !== undefined) {
      const run = new RunFolder(path);
      if (await run.#changedMs(needs) !== undefined) return run;
      throw new UserError(
        `Cannot open run ${path}: expected ${
          needs ? `a ${needs} checkpoint` : "a started stage"
        } in it, found none`,
      );
    }
    let newest: { run: RunFolder; timeMs: number } | undefined;
    for (const name of await folderNames(root)) {
      const run = new RunFolder(join(root, name));
      const timeMs = await run.#changedMs(needs);
      if (timeMs !== undefined && timeMs >= (newest?.timeMs ?? 0)) newest = { run, timeMs };
    }
    if (newest) return newest.run;
    throw new UserError(
      `Cannot open a run: expected one${
        needs ? ` with a ${needs} checkpoint` : ""
      } in ${root}, found none; train one with: deno task train`,
    );
  }

  /**
   * Names the folder of a stage.
   *
   * @param name The stage.
   * @returns Its folder, which may not exist yet.
   */
  stage(name: StageName): StageFolder {
    return new StageFolder(join(this.path, name));
  }

  /** Removes the run's folder if no stage has come as far as a step, so that a refused start leaves nothing behind. */
  async discardUnstarted(): Promise<void> {
    for (const name of STAGE_NAMES) {
      const { logFile } = this.stage(name);
      // The first line is about the start.
      const text = await statOf(logFile) ? await Deno.readTextFile(logFile) : "";
      if (text.trim().split("\n").length > 1) return;
    }
    await Deno.remove(this.path, { recursive: true });
  }

  async #changedMs(needs: StageName | undefined): Promise<number | undefined> {
    const times: number[] = [];
    for (const name of needs ? [needs] : STAGE_NAMES) {
      const timeMs = await this.stage(name).changedMs({ trained: needs !== undefined });
      if (timeMs !== undefined) times.push(timeMs);
    }
    return times.length > 0 ? Math.max(...times) : undefined;
  }
}

/**
 * Makes a folder and those above it.
 *
 * @param path The folder; it may exist.
 * @throws {UserError} If that is not possible.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (cause) {
    throw fileError(`make the folder ${path}`, cause);
  }
}

async function statOf(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    throw fileError(`read ${path}`, cause);
  }
}

async function folderNames(root: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(root)) if (entry.isDirectory) names.push(entry.name);
  } catch (cause) {
    if (!isAbsent(cause)) throw fileError(`read ${root}`, cause);
  }
  return names.sort();
}

function isAbsent(cause: unknown): boolean {
  return cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory;
}

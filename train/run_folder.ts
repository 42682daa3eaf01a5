/** Where a run keeps its files: one folder a run, in it one folder a stage. @module */

import { join } from "node:path";
import { UserError } from "./errors.ts";

/** The two stages of a run, in order. */
export type StageName = "tokenizer" | "transformer";

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

  /** Tokens of the data set, written once (transformer only). */
  get tokensFile(): string {
    return join(this.path, "tokens.safetensors");
  }

  /** Makes the folder and its parts. */
  async create(): Promise<void> {
    for (const part of ["checkpoints", "images"]) {
      await Deno.mkdir(join(this.path, part), { recursive: true });
    }
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
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
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

  /**
   * Removes all but the newest checkpoints.
   *
   * @param keep How many stay.
   */
  async removeOldCheckpoints(keep: number): Promise<void> {
    for (const path of (await this.checkpoints()).slice(0, -keep)) await Deno.remove(path);
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
   */
  static async create(root: string, now: Date): Promise<RunFolder> {
    const part = (value: number): string => String(value).padStart(2, "0");
    const date = `${now.getFullYear()}-${part(now.getMonth() + 1)}-${part(now.getDate())}`;
    const time = `${part(now.getHours())}-${part(now.getMinutes())}-${part(now.getSeconds())}`;
    await Deno.mkdir(root, { recursive: true });
    for (let attempt = 1;; attempt++) {
      const path = join(root, `${date}_${time}${attempt > 1 ? `_${attempt}` : ""}`);
      try {
        await Deno.mkdir(path);
        return new RunFolder(path);
      } catch (error) {
        if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      }
    }
  }

  /**
   * Opens a run, by default the newest one that has what is needed.
   *
   * @param root Where runs are kept.
   * @param options `path`: this run; `needs`: the stage that must have a checkpoint.
   * @returns The run.
   * @throws {UserError} If there is no such run.
   */
  static async open(
    root: string,
    options: { path?: string; needs?: StageName } = {},
  ): Promise<RunFolder> {
    const { path, needs } = options;
    const ready = async (run: RunFolder): Promise<boolean> =>
      needs === undefined || (await run.stage(needs).checkpoints()).length > 0;
    if (path !== undefined) {
      const run = new RunFolder(path);
      if (await ready(run)) return run;
      throw new UserError(
        `Cannot open run ${path}: expected a ${needs} checkpoint in it, found none`,
      );
    }
    const names: string[] = [];
    try {
      for await (const entry of Deno.readDir(root)) if (entry.isDirectory) names.push(entry.name);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    for (const name of names.sort().reverse()) {
      const run = new RunFolder(join(root, name));
      if (await ready(run)) return run;
    }
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
}

/** Decides which checkpoints of a stage stay on disk: the newest, and the best by a metric. @module */

import { basename, join } from "node:path";
import { type CheckpointRetention, nearest } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { writeFileAtomically } from "./files/atomic.ts";
import { fileError } from "./files/file_error.ts";
import type { StageFolder } from "./run_folder.ts";

/** Checkpoints that stay whatever their rank: the newest, and one before it in case the newest cannot be read. */
const NEWEST_KEPT = 2;

/**
 * Ranks checkpoints as Lightning's ModelCheckpoint does, by the mean of a training metric over the steps since the checkpoint before, or
 * by the last validation's value, and removes those that need not stay.
 *
 * Ranks are kept beside the checkpoints in `monitor.json`, so that a resumed run goes on with them.
 */
export class CheckpointKeeper {
  readonly #folder: StageFolder;
  readonly #retention: CheckpointRetention;
  readonly #values: Map<string, number>;
  #sum = 0;
  #count = 0;

  private constructor(
    folder: StageFolder,
    retention: CheckpointRetention,
    values: Map<string, number>,
  ) {
    this.#folder = folder;
    this.#retention = retention;
    this.#values = values;
  }

  /**
   * Reads what is known of the checkpoints that are there.
   *
   * @param folder The stage.
   * @param retention Which checkpoints are kept.
   * @returns The keeper.
   * @throws {UserError} If `monitor.json` is there and cannot be read.
   */
  static async open(
    folder: StageFolder,
    retention: CheckpointRetention,
  ): Promise<CheckpointKeeper> {
    const { monitor } = retention;
    const values = new Map<string, number>();
    if (monitor) {
      const there = new Set((await folder.checkpoints()).map((path) => basename(path)));
      const kept = await readValues(valuesFile(folder), monitorName(monitor));
      for (const [name, value] of kept) if (there.has(name)) values.set(name, value);
    }
    return new CheckpointKeeper(folder, retention, values);
  }

  /**
   * Notes metrics.
   *
   * @param split Of what: steps of the training, or a validation.
   * @param metrics By name.
   * @throws {UserError} If the configured metric is not among them.
   */
  observe(split: "train" | "val", metrics: Readonly<Record<string, number>>): void {
    const { monitor } = this.#retention;
    if (monitor?.split !== split) return;
    const value = metrics[monitor.metric];
    if (value === undefined) {
      const names = Object.keys(metrics);
      throw new UserError(
        `Cannot rank checkpoints by ${monitorName(monitor)}: expected one of ${
          names.map((name) => `${split}/${name}`).join(", ")
        }; the nearest is ${split}/${nearest(monitor.metric, names)}`,
      );
    }
    // A validation replaces what was there, steps are averaged.
    this.#sum = split === "val" ? value : this.#sum + value;
    this.#count = split === "val" ? 1 : this.#count + 1;
  }

  /**
   * Ranks a checkpoint that was just written, and removes what need not stay.
   *
   * @param path The checkpoint.
   */
  async saved(path: string): Promise<void> {
    const { best, monitor } = this.#retention;
    if (monitor && this.#count > 0) {
      this.#values.set(basename(path), this.#sum / this.#count);
      if (monitor.split === "train") this.#sum = this.#count = 0;
    }
    if (best !== Infinity) await this.#removeOthers();
    if (monitor) {
      const content = {
        monitor: monitorName(monitor),
        values: Object.fromEntries(this.#values),
      };
      await writeFileAtomically(valuesFile(this.#folder), `${JSON.stringify(content, null, 2)}\n`);
    }
  }

  async #removeOthers(): Promise<void> {
    const { best, monitor } = this.#retention;
    const checkpoints = await this.#folder.checkpoints();
    const sign = monitor?.mode === "max" ? -1 : 1;
    const ranked = [...this.#values].sort(([, a], [, b]) => sign * (a - b));
    const stay = new Set([
      ...checkpoints.slice(-NEWEST_KEPT).map((path) => basename(path)),
      ...ranked.slice(0, best).map(([name]) => name),
    ]);
    for (const path of checkpoints) {
      if (stay.has(basename(path))) continue;
      await Deno.remove(path);
      this.#values.delete(basename(path));
    }
  }
}

function monitorName({ split, metric }: NonNullable<CheckpointRetention["monitor"]>): string {
  return `${split}/${metric}`;
}

function valuesFile(folder: StageFolder): string {
  return join(folder.path, "checkpoints", "monitor.json");
}

/** Values by name of the checkpoint; none where there is no file, or it is about another metric. */
async function readValues(path: string, monitor: string): Promise<[string, number][]> {
  let content: unknown;
  try {
    content = JSON.parse(await Deno.readTextFile(path));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    if (!(cause instanceof SyntaxError)) throw fileError(`read ${path}`, cause);
    throw new UserError(`Cannot read ${path}: expected JSON, found ${cause.message}`, { cause });
  }
  if (typeof content !== "object" || content === null || !("values" in content)) return [];
  if (!("monitor" in content) || content.monitor !== monitor) return [];
  return Object.entries(content.values ?? {}).filter((entry): entry is [string, number] =>
    typeof entry[1] === "number"
  );
}

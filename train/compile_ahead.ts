/** Fills the driver's shader cache from a second process, and knows what is in it. @module */

import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { AdapterDescription } from "../kernels/gpu.ts";
import type { PipelineDescription } from "../kernels/pipeline_cache.ts";

/** Variable that names the folder of the driver's shader cache; tools/gpu_env.ts sets it. */
export const SHADER_CACHE_VARIABLE = "MESA_SHADER_CACHE_DIR";

/** Options of {@linkcode CompileAhead}. */
export interface CompileAheadOptions {
  /** Folder of the driver's shader cache; by default the variable's, null for none. */
  readonly folder?: string | null;
  /** Processes that compile; by default one for each core but the first, at most three. */
  readonly helpers?: number;
}

/** Pipelines of a process. */
export interface CompileCounts {
  /** Pipelines made. */
  readonly pipelines: number;
  /** Those that no earlier process has put into the shader cache. */
  readonly compiled: number;
}

/**
 * Compiles new pipelines in other processes while this one still records.
 *
 * A software driver compiles a pipeline at its first dispatch, one after the other, in the order of dispatch. Its cache on disk is
 * shared between processes, so helpers compile the same pipelines in the opposite order; the two meet in the middle. Pipelines of
 * earlier processes are listed beside the cache and cost nothing.
 */
export class CompileAhead implements Disposable {
  readonly #folder: string | null;
  readonly #helperCount: number;
  readonly #digests = new Map<string, string>();
  readonly #fresh: string[] = [];
  #known = new Set<string>();
  #list: string | undefined;
  #software = false;
  #pipelines = 0;
  #compiled = 0;
  #queue: { path: string; file: Deno.FsFile } | undefined;
  #helpers: Deno.ChildProcess[] = [];

  /**
   * Starts nothing before the first new pipeline.
   *
   * @param options Folder and number of processes.
   */
  constructor(options: CompileAheadOptions = {}) {
    this.#folder = options.folder !== undefined
      ? options.folder
      : Deno.env.get(SHADER_CACHE_VARIABLE) ?? null;
    this.#helperCount = options.helpers ??
      Math.min(3, Math.max(1, navigator.hardwareConcurrency - 1));
  }

  /**
   * Reads what the cache holds for an adapter.
   *
   * @param adapter The adapter whose pipelines follow.
   */
  begin(adapter: AdapterDescription): void {
    this.#software = adapter.software;
    if (this.#folder === null) return;
    this.#list = `${this.#folder}/pipelines-${digest(adapter.name).slice(0, 16)}.txt`;
    try {
      this.#known = new Set(Deno.readTextFileSync(this.#list).split("\n"));
    } catch {
      // No list, nothing known.
    }
  }

  /**
   * Takes note of a new pipeline.
   *
   * @param description What it is made of.
   * @returns Whether a helper compiles it meanwhile.
   */
  note(description: PipelineDescription): boolean {
    this.#pipelines++;
    if (this.#list === undefined) return false;
    const { source, name: _name, ...rest } = description;
    let text = this.#digests.get(source);
    if (text === undefined) this.#digests.set(source, text = digest(source));
    const key = digest(text + JSON.stringify(rest));
    if (this.#known.has(key)) return false;
    this.#known.add(key);
    this.#fresh.push(key);
    this.#compiled++;
    return this.#software && this.#send(description);
  }

  /** Counts so far; `compiled` only where the folder of the cache is known. */
  get counts(): CompileCounts {
    return { pipelines: this.#pipelines, compiled: this.#compiled };
  }

  /** Whether it is known what the cache holds. */
  get hasCache(): boolean {
    return this.#list !== undefined;
  }

  /** Ends the helpers and lists what was compiled; call it when the pipelines so far have run. New ones start helpers again. */
  settle(): void {
    for (const helper of this.#helpers.splice(0)) {
      try {
        helper.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
    }
    if (this.#queue) {
      this.#queue.file.close();
      Deno.removeSync(this.#queue.path);
      this.#queue = undefined;
    }
    if (this.#list === undefined || this.#fresh.length === 0) return;
    try {
      const lines = this.#fresh.splice(0).map((key) => `${key}\n`).join("");
      Deno.writeTextFileSync(this.#list, lines, { append: true });
    } catch {
      // A folder that cannot be written holds no shader cache either.
    }
  }

  /** Ends the helpers. */
  [Symbol.dispose](): void {
    this.settle();
  }

  /** Writes to a file, as this process may not come to serve a pipe before the driver has compiled everything. */
  #send(description: PipelineDescription): boolean {
    try {
      this.#queue ??= this.#start();
      const line = new TextEncoder().encode(`${JSON.stringify(description)}\n`);
      for (let offset = 0; offset < line.length;) {
        offset += this.#queue.file.writeSync(line.subarray(offset));
      }
      return true;
    } catch {
      // Without the right to run a process or to write, this one compiles alone.
      return false;
    }
  }

  #start(): { path: string; file: Deno.FsFile } {
    const path = Deno.makeTempFileSync({ prefix: "tessera-pipelines-" });
    const script = fileURLToPath(import.meta.resolve("./compile_helper.ts"));
    for (let index = 0; index < this.#helperCount; index++) {
      const command = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", script, path, String(index), String(this.#helperCount)],
        env: { LP_NUM_THREADS: "1" },
        stdin: "piped",
        stdout: "null",
        stderr: "null",
      });
      const helper = command.spawn();
      helper.unref();
      this.#helpers.push(helper);
    }
    return { path, file: Deno.openSync(path, { append: true }) };
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

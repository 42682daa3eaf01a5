/** Profiles some steps of a command: starts after a warm-up, prints a table, writes a trace. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { measurePeaks } from "../kernels/peaks.ts";
import { writeFileAtomically } from "./files/atomic.ts";
import { chromeTrace, profileTable } from "./profile_report.ts";

/** What the command line says of a profile. */
export interface ProfileRequest {
  /** Steps, or batches, to measure. */
  readonly steps: number;
  /** File of the trace; undefined for one in the run's folder. */
  readonly out: string | undefined;
}

/** Options of a {@linkcode ProfileSession}. */
export interface ProfileSessionOptions {
  /** File of the trace. */
  readonly path: string;
  /** Steps before the measured ones: the first compile and allocate. */
  readonly warmUp: number;
  /** Steps to measure. */
  readonly steps: number;
  /** Where the table goes. */
  readonly say: (text: string) => void;
}

/** Steps before those of a training that are measured: the first compiles, the second fills the pool of buffers. */
export const TRAINING_WARM_UP = 2;

/** Dispatches that a peak is the best of. */
const PEAK_DISPATCHES = 5;

/**
 * Opens the profile of batches: the first is the warm-up, unless it is all there is.
 *
 * @param gpu The device.
 * @param request What the command line says; undefined for no profile.
 * @param options Number of batches, the file where the request names none, where the table goes.
 * @returns The profile.
 * @throws {GpuError} If the adapter cannot measure.
 */
export function profileBatches(
  gpu: Gpu,
  request: ProfileRequest | undefined,
  options: { batches: number; path: string; say: (text: string) => void },
): ProfileSession | undefined {
  if (!request) return undefined;
  const { batches, path, say } = options;
  return new ProfileSession(gpu, {
    path: request.out ?? path,
    warmUp: batches > 1 ? 1 : 0,
    steps: request.steps,
    say,
  });
}

/** Counts steps and measures some of them. */
export class ProfileSession {
  readonly #gpu: Gpu;
  readonly #options: ProfileSessionOptions;
  #steps = 0;
  #state: "before" | "running" | "done" = "before";

  /**
   * Starts to measure at once if there is no warm-up.
   *
   * @param gpu The device.
   * @param options How many steps, where to.
   * @throws {GpuError} If the adapter cannot measure.
   */
  constructor(gpu: Gpu, options: ProfileSessionOptions) {
    this.#gpu = gpu;
    this.#options = options;
    gpu.requireTimestamps();
    if (options.warmUp > 0) return;
    gpu.startProfile();
    this.#state = "running";
  }

  /** Notes that a step is done; starts or ends the measurement where it is due. */
  async step(): Promise<void> {
    if (this.#state === "done") return;
    const { warmUp, steps } = this.#options;
    this.#steps++;
    if (this.#steps === warmUp) {
      await this.#gpu.settle();
      this.#gpu.startProfile();
      this.#state = "running";
    } else if (this.#steps === warmUp + steps) await this.finish();
  }

  /** Ends a measurement that runs: prints the table and writes the trace. Says so where there were too few steps for any. */
  async finish(): Promise<void> {
    const { say, path, warmUp } = this.#options;
    const state = this.#state;
    this.#state = "done";
    if (state === "before") {
      say(`no profile: expected more than ${warmUp} steps, found ${this.#steps}`);
    }
    if (state !== "running") return;
    const gpu = this.#gpu;
    const profile = await gpu.finishProfile();
    const context = {
      adapter: gpu.adapter.name,
      peaks: await measurePeaks(gpu, (record) => bestMs(gpu, record)),
      steps: Math.max(1, this.#steps - warmUp),
    };
    await writeFileAtomically(path, chromeTrace(profile, context));
    say(
      `${
        profileTable(profile, context)
      }\nprofile ${path} (open it in chrome://tracing or ui.perfetto.dev)`,
    );
  }
}

/** The fastest of some dispatches, by the device's own clock. */
async function bestMs(gpu: Gpu, record: () => void): Promise<number> {
  record();
  await gpu.settle();
  gpu.startProfile();
  for (let i = 0; i < PEAK_DISPATCHES; i++) record();
  const { dispatches } = await gpu.finishProfile();
  return Math.min(...dispatches.map(({ durationMs }) => durationMs));
}

/** A few workers that decode image files beside the training loop. @module */

import { prepareFile, type PrepareJob, type PrepareOutcome } from "./prepare.ts";

/** Jobs a worker has at once: the one it works on, and one that waits so that it never idles. */
const JOBS_PER_WORKER = 2;

/** A job and the promise that was given for it. */
interface Pending {
  readonly job: PrepareJob;
  readonly resolve: (outcome: PrepareOutcome) => void;
  readonly reject: (error: Error) => void;
}

/** One worker and what it was sent, oldest first: it answers in that order. */
interface Lane {
  readonly worker: Worker;
  readonly sent: Pending[];
}

/**
 * Number of workers that leaves one core to the training loop.
 *
 * @returns From 1 to 4.
 */
export function defaultWorkerCount(): number {
  return Math.min(4, Math.max(1, navigator.hardwareConcurrency - 1));
}

/** Prepares image files in workers, which start with the first job and end on disposal. */
export class DecodePool implements Disposable {
  readonly #count: number;
  readonly #waiting: Pending[] = [];
  #lanes: Lane[] = [];

  /**
   * Prepares a pool; no worker starts before the first job.
   *
   * @param count Number of workers; 0 decodes in the calling thread.
   * @throws {RangeError} If the number is not a whole one of at least 0.
   */
  constructor(count: number) {
    if (!Number.isInteger(count) || count < 0) {
      throw new RangeError(`Cannot start ${count} workers: expected a whole number of at least 0`);
    }
    this.#count = count;
  }

  /**
   * Prepares one file.
   *
   * @param job The file.
   * @returns Pixels, or why the file cannot be used; the same with any number of workers.
   * @throws {Error} If a worker dies, or the pool is disposed before the job is done.
   */
  prepare(job: PrepareJob): Promise<PrepareOutcome> {
    if (this.#count === 0) return prepareFile(job);
    if (this.#lanes.length === 0) {
      this.#lanes = Array.from({ length: this.#count }, () => this.#startLane());
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      this.#send();
    });
  }

  /** Ends the workers; jobs that are not done are rejected. A later job starts new ones. */
  [Symbol.dispose](): void {
    const undone = [...this.#lanes.flatMap((lane) => lane.sent), ...this.#waiting.splice(0)];
    for (const lane of this.#lanes) lane.worker.terminate();
    this.#lanes = [];
    for (const { job, reject } of undone) {
      reject(new Error(`Cannot decode ${job.path}: the data set was closed`));
    }
  }

  #startLane(): Lane {
    const worker = new Worker(new URL("./decode_worker.ts", import.meta.url), { type: "module" });
    const lane: Lane = { worker, sent: [] };
    worker.onmessage = (event: MessageEvent<PrepareOutcome>): void => {
      lane.sent.shift()?.resolve(event.data);
      this.#send();
    };
    worker.onerror = (event: ErrorEvent): void => {
      event.preventDefault();
      const failed = lane.sent.splice(0);
      this.#lanes = this.#lanes.filter((other) => other !== lane);
      for (const { job, reject } of failed) {
        reject(new Error(`Cannot decode ${job.path}: the worker died: ${event.message}`));
      }
      if (this.#lanes.length === 0) this[Symbol.dispose]();
    };
    return lane;
  }

  /** Gives waiting jobs to the workers that have the fewest. */
  #send(): void {
    while (this.#waiting.length > 0) {
      const lane = this.#lanes.reduce<Lane | undefined>(
        (least, other) => least && least.sent.length <= other.sent.length ? least : other,
        undefined,
      );
      if (lane === undefined || lane.sent.length >= JOBS_PER_WORKER) return;
      const pending = this.#waiting.shift();
      if (pending === undefined) return;
      lane.sent.push(pending);
      lane.worker.postMessage(pending.job);
    }
  }
}

/** How long steps take, and how long of it the device waits for the host. @module */

/** Means over some steps. */
export interface StepTimes {
  /** Milliseconds from one step's begin to the next one's. */
  readonly stepMs: number;
  /** Milliseconds of it in which the device had nothing to do, as the host still recorded. */
  readonly gpuIdleMs: number;
}

/** Times whole steps; what happens between them, such as a validation, is left out. */
export class StepClock {
  readonly #idleMs: () => number;
  readonly #now: () => number;
  #last: { timeMs: number; idleMs: number } | undefined;
  #skip = false;
  #steps = 0;
  #sums = { timeMs: 0, idleMs: 0 };

  /**
   * Starts with no step.
   *
   * @param idleMs Milliseconds so far in which the device waited for the host.
   * @param now The time in milliseconds; `performance.now` by default.
   */
  constructor(idleMs: () => number, now: () => number = () => performance.now()) {
    this.#idleMs = idleMs;
    this.#now = now;
  }

  /** Notes that a step begins. */
  begin(): void {
    const timeMs = this.#now(), idleMs = this.#idleMs();
    if (this.#last) {
      this.#sums.timeMs += timeMs - this.#last.timeMs;
      this.#sums.idleMs += idleMs - this.#last.idleMs;
      this.#steps++;
    }
    // The wait before this step's first submit is that of the interruption.
    this.#last = this.#skip ? undefined : { timeMs, idleMs };
    this.#skip = false;
  }

  /** Notes that something else comes before the next step. */
  interrupt(): void {
    this.#last = undefined;
    this.#skip = true;
  }

  /**
   * Takes the means since the last call and starts anew.
   *
   * @returns The means, or undefined if no step was whole.
   */
  take(): StepTimes | undefined {
    const { timeMs, idleMs } = this.#sums;
    const steps = this.#steps;
    this.#sums = { timeMs: 0, idleMs: 0 };
    this.#steps = 0;
    return steps === 0 ? undefined : { stepMs: timeMs / steps, gpuIdleMs: idleMs / steps };
  }
}

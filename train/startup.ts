/** What the start of a training cost. @module */

import type { CompileAhead } from "./compile_ahead.ts";
import type { LogRecord } from "./log.ts";

/** Reports the first training step of a process. */
export class Startup {
  readonly #ahead: CompileAhead;
  #done = false;

  /**
   * Waits for the first step.
   *
   * @param ahead Counts the pipelines; its helpers end with the first step of each stage.
   */
  constructor(ahead: CompileAhead) {
    this.#ahead = ahead;
  }

  /**
   * Notes that a stage's first step is done.
   *
   * @param seconds Time since the start of the process.
   * @param processorSeconds Time that its threads have computed, whatever else the machine did.
   * @returns A line for the log and one to say, at the first call; undefined later.
   */
  firstStep(
    seconds: number,
    processorSeconds: number,
  ): { record: LogRecord; text: string } | undefined {
    const { pipelines, compiled } = this.#ahead.counts;
    this.#ahead.settle();
    if (this.#done) return undefined;
    this.#done = true;
    const record = { event: "first step", seconds, processorSeconds, pipelines };
    const text = `first step after ${seconds.toFixed(1)} s (${
      processorSeconds.toFixed(1)
    } s of processor time)`;
    if (!this.#ahead.hasCache) return { record, text: `${text}, ${pipelines} pipelines` };
    const start = compiled > 0 ? "cold" : "warm";
    return {
      record: { ...record, compiled, start },
      text: `${text}: ${start} start, ${compiled} of ${pipelines} pipelines compiled`,
    };
  }
}

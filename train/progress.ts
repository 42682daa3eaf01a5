/**
 * Shows how far a training is: a bar in a terminal, a line now and then anywhere else.
 *
 * @module
 */
import { ProgressBar } from "@std/cli/unstable-progress-bar";
import { printLine } from "./log.ts";

/** Time over which images a second are measured, in milliseconds. */
const RATE_WINDOW_MS = 20_000;

/** Time between two lines where there is no terminal, in milliseconds. */
const LINE_INTERVAL_MS = 10_000;

const BAR_LENGTH = 20;

/** Erases the terminal's line before something else is written to it. */
const CLEAR_LINE = "\r\x1b[K";

/** State of a training after a step. */
export interface ProgressUpdate {
  /** Optimizer steps done. */
  readonly step: number;
  /** Epoch, from 0. */
  readonly epoch: number;
  /** Losses by name, in the order in which they are shown. */
  readonly losses: Readonly<Record<string, number>>;
  /** Images of this step. */
  readonly images: number;
}

/** Options of {@linkcode Progress}. */
export interface ProgressOptions {
  /** What is trained. */
  readonly label: string;
  /** Optimizer steps at the end. */
  readonly totalSteps: number;
  /** Optimizer steps in an epoch, for the number of epochs. */
  readonly stepsPerEpoch: number;
  /** Optimizer steps done before, by the run that is resumed; default 0. */
  readonly startStep?: number;
  /** Whether to draw a bar; by default if standard error is a terminal. */
  readonly terminal?: boolean;
  /** Where the bar is drawn; standard error by default. */
  readonly writable?: WritableStream<Uint8Array>;
  /** Where lines go; standard error by default. */
  readonly writeLine?: (line: string) => void;
  /** The time in milliseconds; `performance.now` by default. */
  readonly now?: () => number;
}

/** A step done at a time. */
interface Sample {
  readonly timeMs: number;
  readonly step: number;
  /** Images since the start, this step's included. */
  readonly images: number;
}

/**
 * Shows a duration.
 *
 * @param milliseconds The duration.
 * @returns `mm:ss`, or `h:mm:ss` from an hour on.
 */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const two = (value: number) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  const tail = `${two(minutes % 60)}:${two(seconds % 60)}`;
  return minutes < 60 ? tail : `${Math.floor(minutes / 60)}:${tail}`;
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 120;
  }
}

/** Progress of one training. Call {@linkcode Progress.stop} at its end, also after an error. */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #now: () => number;
  readonly #writeLine: (line: string) => void;
  readonly #bar: ProgressBar | null;
  #samples: Sample[];
  #last: ProgressUpdate;
  #lineTimeMs = -Infinity;

  /**
   * Starts the clock and, in a terminal, draws the bar.
   *
   * @param options Label, length, and where to draw.
   */
  constructor(options: ProgressOptions) {
    const { startStep = 0, totalSteps, stepsPerEpoch, writable } = options;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#writeLine = options.writeLine ?? printLine;
    this.#samples = [{ timeMs: this.#now(), step: startStep, images: 0 }];
    this.#last = {
      step: startStep,
      epoch: Math.floor(startStep / stepsPerEpoch),
      losses: {},
      images: 0,
    };
    this.#bar = options.terminal ?? Deno.stderr.isTerminal()
      ? new ProgressBar({
        max: totalSteps,
        value: startStep,
        barLength: BAR_LENGTH,
        formatter: ({ progressBar }) =>
          this.#text(`[${progressBar}] `).slice(0, terminalColumns() - 1),
        ...(writable === undefined ? {} : { writable }),
      })
      : null;
  }

  /**
   * Tells that a step is done.
   *
   * @param update Step, epoch, losses, images.
   */
  update(update: ProgressUpdate): void {
    const timeMs = this.#now();
    const images = (this.#samples.at(-1)?.images ?? 0) + update.images;
    const recent = this.#samples.filter((sample) => timeMs - sample.timeMs <= RATE_WINDOW_MS);
    const kept = recent.length > 0 ? recent : this.#samples.slice(-1);
    this.#samples = [...kept, { timeMs, step: update.step, images }];
    this.#last = update;
    if (this.#bar !== null) this.#bar.value = update.step;
    else if (timeMs - this.#lineTimeMs >= LINE_INTERVAL_MS) this.#printLine();
  }

  /**
   * Writes a line between the lines of progress, without tearing the bar.
   *
   * @param text What to say.
   */
  say(text: string): void {
    this.#writeLine(this.#bar === null ? text : CLEAR_LINE + text);
  }

  /** Draws the last state and ends the drawing. */
  async stop(): Promise<void> {
    if (this.#bar !== null) await this.#bar.stop();
    else if (this.#samples.length > 1) this.#printLine();
  }

  #printLine(): void {
    this.#lineTimeMs = this.#now();
    this.#writeLine(this.#text(""));
  }

  #text(bar: string): string {
    const { label, totalSteps, stepsPerEpoch } = this.#options;
    const { step, epoch, losses } = this.#last;
    const epochs = Math.max(1, Math.ceil(totalSteps / stepsPerEpoch));
    const values = Object.entries(losses).map(([name, value]) => `${name} ${value.toPrecision(4)}`);
    const parts = [`epoch ${Math.min(epoch + 1, epochs)}/${epochs}`, `step ${step}/${totalSteps}`];
    return `${label} ${bar}${[...parts, ...values, ...this.#speed()].join("  ")}`;
  }

  /** Images a second and time to the end, once two steps are known. */
  #speed(): string[] {
    const first = this.#samples.at(0), last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.timeMs <= first.timeMs) return [];
    const elapsedMs = last.timeMs - first.timeMs;
    const rate = (last.images - first.images) / elapsedMs * 1000;
    const stepMs = elapsedMs / Math.max(1, last.step - first.step);
    const leftMs = (this.#options.totalSteps - last.step) * stepMs;
    return [`${rate.toFixed(1)} images/s`, `ETA ${formatDuration(leftMs)}`];
  }
}

/**
 * A progress bar: a stand-in for `@std/cli/unstable-progress-bar` 1 with its names and signatures.
 *
 * To use the original, point the import map's `@std/cli/unstable-progress-bar` to
 * `jsr:@std/cli@1/unstable-progress-bar`.
 *
 * @module
 */

/** What a formatter is given at each update. */
export interface ProgressBarFormatter {
  /** Time since the start, as `mm:ss`. */
  styledTime: string;
  /** Value and maximum in a common unit of bytes, as `0.24/97.6 KiB`. */
  styledData: (fractions?: number) => string;
  /** The bar itself, as `###-------`. */
  progressBar: string;
  /** Time since the start, in milliseconds. */
  time: number;
  /** The time at the update before. */
  previousTime: number;
  /** The value now. */
  value: number;
  /** The value at the update before. */
  previousValue: number;
  /** The value at the end. */
  max: number;
}

/** Options of {@linkcode ProgressBar}. */
export interface ProgressBarOptions {
  /** The value at the end. */
  max: number;
  /** The value at the start, 0 by default. */
  value?: number;
  /** Where the bar is drawn, standard error by default. */
  writable?: WritableStream<Uint8Array>;
  /** Characters of the bar, 50 by default. */
  barLength?: number;
  /** Character of what is done, `#` by default. */
  fillChar?: string;
  /** Character of what is left, `-` by default. */
  emptyChar?: string;
  /** Whether the bar disappears at the end. */
  clear?: boolean;
  /** Makes the line, `[mm:ss] [###---] [0.24/97.6 KiB]` by default. */
  formatter?: (formatter: ProgressBarFormatter) => string;
  /** Whether `writable` stays open at the end, as by default. */
  keepOpen?: boolean;
  /** Milliseconds between updates, 1000 by default. */
  interval?: number;
}

const CLEAR_LINE = "\r\x1b[K";
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function styleData(value: number, max: number, fractions: number): string {
  const power = Math.floor(Math.log2(Math.max(max, 1)) / 10);
  const unit = Math.min(power, UNITS.length - 1);
  const [done, all] = [value, max].map((bytes) => (bytes / 1024 ** unit).toFixed(fractions));
  return `${done}/${all} ${UNITS[unit]}`;
}

function styleTime(timeMs: number): string {
  const seconds = Math.floor(timeMs / 1000);
  return [seconds / 60, seconds % 60]
    .map((part) => Math.floor(part).toString().padStart(2, "0"))
    .join(":");
}

/**
 * A line that shows how far something is, drawn at once and then at an interval.
 *
 * Set `value` (and `max`, if it moves) as work proceeds; call {@linkcode ProgressBar.stop} at the end.
 */
export class ProgressBar {
  /** How far it is. */
  value: number;
  /** Where it ends. */
  max: number;
  readonly #style: Required<
    Pick<ProgressBarOptions, "barLength" | "fillChar" | "emptyChar" | "clear" | "keepOpen">
  >;
  readonly #formatter: (formatter: ProgressBarFormatter) => string;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #encoder = new TextEncoder();
  readonly #start = Date.now();
  readonly #timer: ReturnType<typeof setInterval>;
  #previousTime = 0;
  #previousValue: number;
  #written: Promise<void> = Promise.resolve();

  /**
   * Draws the bar and starts to update it.
   *
   * @param options Range, place and look.
   */
  constructor(options: ProgressBarOptions) {
    const { max, value = 0, writable = Deno.stderr.writable, interval = 1000 } = options;
    this.max = max;
    this.value = value;
    this.#previousValue = value;
    this.#style = {
      barLength: 50,
      fillChar: "#",
      emptyChar: "-",
      clear: false,
      keepOpen: true,
      ...options,
    };
    this.#formatter = options.formatter ??
      ((bar) => `[${bar.styledTime}] [${bar.progressBar}] [${bar.styledData()}]`);
    this.#writer = writable.getWriter();
    this.#print();
    this.#timer = setInterval(() => this.#print(), interval);
  }

  #bar(): string {
    const { barLength, fillChar, emptyChar } = this.#style;
    const share = this.max > 0 ? Math.min(Math.max(this.value / this.max, 0), 1) : 1;
    const filled = Math.trunc(share * barLength);
    return fillChar.repeat(filled) + emptyChar.repeat(barLength - filled);
  }

  #print(): void {
    const time = Date.now() - this.#start, { value, max } = this;
    const line = this.#formatter({
      styledTime: styleTime(time),
      styledData: (fractions = 2) => styleData(value, max, fractions),
      progressBar: this.#bar(),
      time,
      previousTime: this.#previousTime,
      value,
      previousValue: this.#previousValue,
      max,
    });
    this.#previousTime = time;
    this.#previousValue = value;
    this.#write(CLEAR_LINE + line);
  }

  /** A reader that went away, such as a closed pipe, ends the drawing, never the work. */
  #write(text: string): void {
    this.#written = this.#writer.write(this.#encoder.encode(text))
      .catch(() => clearInterval(this.#timer));
  }

  /**
   * Draws the last state, or removes the bar, and gives the stream back.
   *
   * @returns When everything is written.
   */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#style.clear) {
      this.#write(CLEAR_LINE);
    } else {
      this.#print();
      this.#write("\n");
    }
    await this.#written;
    if (this.#style.keepOpen) this.#writer.releaseLock();
    else await this.#writer.close().catch(() => {});
  }
}

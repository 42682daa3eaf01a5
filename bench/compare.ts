/** Runs cases by several subjects, interleaved, and checks that they compute the same. @module */

import { type Case, CONSTANTS } from "./cases.ts";
import { difference, type ToleranceName, toleranceOf } from "./equality.ts";
import type { Timing } from "./protocol.ts";
import { BATCH_MS, moreRepetitions, MOST_REPETITIONS } from "./rate.ts";
import { type SubjectCommand, SubjectError, SubjectProcess } from "./subject_process.ts";

/** What a subject reached in a case. */
export type Measurement =
  | {
    /** Median milliseconds of one repetition. */
    ms: number;
    /** Median milliseconds of the processors. */
    processorMs: number;
    /** Milliseconds of the first run, compilation and reading of the result included. */
    firstMs: number;
    /** Timed batches: fewer than the rounds where one takes long. */
    rounds: number;
    /** Median over the rounds of this subject's time divided by ours in the same round; 1 for ours. */
    ratio: number;
    /** The same of the processors' time, which other jobs on the machine disturb less. */
    processorRatio: number;
  }
  | {
    /** Why there is no time: it failed, is wrong, or has no such thing. */
    reason: string;
  };

/** A line of the table. */
export interface Row {
  /** The case. */
  readonly case: Case;
  /** The tolerance within which all that have a time are equal. */
  readonly tolerance: ToleranceName;
  /** What each subject reached, by its name; the engine's is `ours`. */
  readonly measurements: Readonly<Record<string, Measurement>>;
  /** When it was measured. */
  readonly date: string;
}

/** Settings of {@linkcode Comparison}. */
export interface ComparisonOptions {
  /** Timed batches of each subject, one after the other. */
  readonly rounds: number;
  /** Folder for results and for the files of whole models. */
  readonly folder: string;
  /** How long a peer may take for a request, in milliseconds, if 40 times our first run is not longer. Default a minute. */
  readonly limitMs?: number;
}

/** Name of the engine among the subjects. */
export const OURS = "ours";
/** A subject gets fewer rounds in a case where all of them would take longer than this. */
const CASE_MS = 15_000;
/** The engine, without which there is no line, may take this long for a request. */
const OUR_LIMIT_MS = 600_000;
/** A peer may take this long, or so many times as long as the engine for the first run. */
const LIMIT_MS = 60_000, LIMIT_FACTOR = 40;
/** A first run of this length is a measurement: compilation is next to nothing of it. */
const LONG_MS = 30_000;

/** A subject, what it has measured of the open case, and how often it repeats. */
interface Runner {
  command: SubjectCommand;
  process: SubjectProcess | undefined;
}

interface Plan {
  runner: Runner;
  first: Timing;
  repetitions: number;
  rounds: number;
  times: Timing[];
}

/** Subjects that run cases beside each other. */
export class Comparison implements AsyncDisposable {
  /** Reasons of subjects that did not start. */
  readonly absent: Record<string, string> = {};
  readonly #runners: Runner[] = [];
  readonly #options: ComparisonOptions;
  #limitMs: number;

  private constructor(options: ComparisonOptions) {
    this.#options = options;
    this.#limitMs = options.limitMs ?? LIMIT_MS;
  }

  /**
   * Starts the subjects.
   *
   * @param commands How to start them; the first is the engine.
   * @param options Rounds and folder.
   * @returns The comparison; those that do not start are left out and listed in `absent`.
   * @throws {SubjectError} If the engine does not start.
   */
  static async start(
    commands: readonly SubjectCommand[],
    options: ComparisonOptions,
  ): Promise<Comparison> {
    const comparison = new Comparison(options);
    for (const [i, command] of commands.entries()) {
      try {
        const process = await SubjectProcess.start(command);
        comparison.#runners.push({ command, process });
      } catch (error) {
        if (i === 0 || !(error instanceof SubjectError)) throw error;
        comparison.absent[command.name] = error.message;
      }
    }
    return comparison;
  }

  /** What the subjects said of themselves. */
  get subjects(): { name: string; version: string; adapter: string }[] {
    return this.#runners.flatMap(({ command, process }) =>
      process ? [{ ...process.hello, name: command.name }] : []
    );
  }

  /**
   * Runs a case by every subject.
   *
   * @param wanted The case.
   * @param names Subjects that take part, the engine aside.
   * @returns The line.
   */
  async run(wanted: Case, names: ReadonlySet<string>): Promise<Row> {
    const measurements: Record<string, Measurement> = {};
    const tolerance = toleranceOf(wanted.operation);
    const plans: Plan[] = [];
    let expected: Float32Array | undefined;
    for (const runner of this.#runners) {
      const { name } = runner.command;
      if (name !== OURS && !names.has(name)) continue;
      try {
        const plan = await this.#open(runner, wanted, names.size > 0);
        const result = await this.#result(runner);
        const wrong = expected && difference(result, expected, tolerance);
        if (wrong) throw new Error(wrong);
        expected ??= result;
        if (name === OURS) {
          const { limitMs = LIMIT_MS } = this.#options;
          this.#limitMs = Math.max(limitMs, LIMIT_FACTOR * plan.first.ms);
        }
        await this.#calibrate(plan, wanted);
        plans.push(plan);
      } catch (error) {
        measurements[name] = { reason: await this.#forgive(runner, error) };
        if (name === OURS) break;
      }
    }
    expected = undefined;
    for (let round = 0; round < this.#options.rounds; round++) {
      for (const plan of plans) {
        if (plan.times.length >= plan.rounds) continue;
        try {
          plan.times.push(await this.#time(plan.runner, plan.repetitions));
        } catch (error) {
          measurements[plan.runner.command.name] = {
            reason: await this.#forgive(plan.runner, error),
          };
          plan.rounds = 0;
          plan.times.length = 0;
        }
      }
    }
    const ours = plans.find(({ runner }) => runner.command.name === OURS);
    for (const plan of plans) {
      if (plan.times.length > 0) {
        measurements[plan.runner.command.name] = summarize(plan, ours?.times ?? []);
        await this.#close(plan.runner);
      }
    }
    await this.#clear();
    return { case: wanted, tolerance, measurements, date: new Date().toISOString() };
  }

  /** Ends all processes. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process } of this.#runners) await process?.[Symbol.asyncDispose]();
  }

  async #open(runner: Runner, wanted: Case, shared: boolean): Promise<Plan> {
    runner.process ??= await SubjectProcess.start(runner.command);
    const folder = shared ? this.#options.folder : undefined;
    const timing = await runner.process.ask(
      { do: "open", case: wanted, folder, constants: CONSTANTS },
      this.#limitOf(runner),
    );
    if (!timing) throw new Error("expected times, found none");
    return { runner, first: timing, repetitions: 1, rounds: 1, times: [] };
  }

  async #result(runner: Runner): Promise<Float32Array> {
    const file = `${this.#options.folder}/result.f32`;
    await processOf(runner).ask({ do: "result", file }, this.#limitOf(runner));
    const bytes = await Deno.readFile(file);
    await Deno.remove(file);
    return new Float32Array(bytes.buffer);
  }

  /** Finds the repetitions of a batch and the rounds. */
  async #calibrate(plan: Plan, { operation }: Case): Promise<void> {
    // The first run of a model may be several repetitions.
    if (plan.first.ms > LONG_MS && operation.kind !== "model") {
      plan.times.push(plan.first);
      return;
    }
    for (;;) {
      const timing = await this.#time(plan.runner, plan.repetitions);
      const batch = timing.ms * plan.repetitions;
      plan.rounds = Math.max(1, Math.min(this.#options.rounds, Math.floor(CASE_MS / batch)));
      // What takes that long need not run again only to be timed.
      if (plan.rounds <= 2) plan.times.push(timing);
      if (batch >= BATCH_MS * 0.8 || plan.repetitions === MOST_REPETITIONS) return;
      plan.repetitions = moreRepetitions(plan.repetitions, batch);
    }
  }

  async #time(runner: Runner, repetitions: number): Promise<Timing> {
    const timing = await processOf(runner).ask({ do: "run", repetitions }, this.#limitOf(runner));
    if (!timing) throw new Error("expected times, found none");
    return timing;
  }

  async #close(runner: Runner): Promise<void> {
    await processOf(runner).ask({ do: "close" }, this.#limitOf(runner));
  }

  /** Weights of a large model are gigabytes. */
  async #clear(): Promise<void> {
    const { folder } = this.#options;
    for await (const { name } of Deno.readDir(folder)) await Deno.remove(`${folder}/${name}`);
  }

  #limitOf({ command }: Runner): number {
    return command.name === OURS ? OUR_LIMIT_MS : this.#limitMs;
  }

  /** Makes a subject ready for the next case after a failure; says why it failed. */
  async #forgive(runner: Runner, error: unknown): Promise<string> {
    if (!(error instanceof Error)) throw error;
    if (error instanceof SubjectError) runner.process = undefined;
    else await this.#close(runner).catch(() => {});
    return error.message;
  }
}

function processOf({ process, command }: Runner): SubjectProcess {
  if (!process) throw new SubjectError(`${command.name} has ended`);
  return process;
}

function summarize(plan: Plan, ours: readonly Timing[]): Measurement {
  const { times, first } = plan;
  const ratio = (of: (timing: Timing) => number): number =>
    median(times.map((timing, round) => of(timing) / of(ours[Math.min(round, ours.length - 1)]!)));
  return {
    ms: median(times.map(({ ms }) => ms)),
    processorMs: median(times.map(({ processorMs }) => processorMs)),
    firstMs: first.ms,
    rounds: times.length,
    ratio: ratio(({ ms }) => ms),
    processorRatio: ratio(({ processorMs }) => processorMs),
  };
}

/**
 * Takes the middle one.
 *
 * @param values At least one.
 * @returns The median; of an even number the lower of the two in the middle.
 */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[(values.length - 1) >> 1]!;
}

/** The loop that both stages share: steps, late reading of losses, log, validation, checkpoints, pictures, interruption. @module */

import type { CheckpointKeeper } from "./checkpoint_keeper.ts";
import type { LogRecord, RunLog } from "./log.ts";
import type { Progress } from "./progress.ts";
import type { StageFolder } from "./run_folder.ts";
import { StepClock } from "./step_clock.ts";

/** An op whose result is not finite, found while a step was watched. */
export class AnomalyError extends Error {
  /** Tells it from other errors. */
  override name = "AnomalyError";

  /**
   * Names the op.
   *
   * @param operation The first op whose result is not finite.
   */
  constructor(readonly operation: string) {
    super(`Cannot trust a step: expected finite results, found NaN or infinity in ${operation}`);
  }
}

/** Losses and other scalars by name. */
export type Metrics = Readonly<Record<string, number>>;

/** A step that was submitted. */
export interface SubmittedStep {
  /** Images of the step. */
  readonly images: number;
  /** Epoch that the images belong to, from 0. */
  readonly epoch: number;
  /** What is logged; resolves when the GPU is done, which the next step does not wait for. */
  readonly metrics: Promise<Metrics>;
}

/** What the loop drives. */
export interface TrainingStage {
  /** Runs one optimizer step (number from 0) and advances the data by one batch. */
  step(step: number): Promise<SubmittedStep>;
  /** Names the op that made the first value that is not finite in the batch of `step`, without changing any weight. */
  locateNonFinite(step: number): Promise<string>;
  /** Measures the held-out part after `step` steps. */
  validate(step: number): Promise<Metrics>;
  /** Writes a checkpoint after `step` steps. */
  save(path: string, step: number): Promise<void>;
  /** Draws a picture of what the model does after `step` steps; returns its path. */
  draw(step: number): Promise<string>;
}

/** How long and how often. */
export interface LoopOptions {
  /** Files of the stage. */
  readonly folder: StageFolder;
  /** Where lines go. */
  readonly log: RunLog;
  /** What whoever watches sees. */
  readonly progress: Progress;
  /** Decides which checkpoints stay. */
  readonly keeper: CheckpointKeeper;
  /** Steps done before. */
  readonly startStep: number;
  /** Steps at the end. */
  readonly totalSteps: number;
  /** Steps between two log lines. */
  readonly logEvery: number;
  /** Steps between two validations; 0 for none. */
  readonly validateEvery: number;
  /** Steps between two checkpoints. */
  readonly saveEvery: number;
  /** Steps between two pictures. */
  readonly drawEvery: number;
  /** Names of the metrics in the progress bar. */
  readonly shown: readonly string[];
  /** Ends the loop after the running step, with a checkpoint. */
  readonly signal: AbortSignal;
  /** Milliseconds so far in which the device waited for the host; the log then has a step's share. */
  readonly idleMs?: () => number;
  /** Called when the first step is done. */
  readonly onFirstStep?: () => void;
  /** Awaited behind every step that was submitted. */
  readonly onStep?: () => Promise<void>;
}

/** A step whose losses or gradients are not finite. It changed no weight; the step after it may have run already. */
export class NonFiniteError extends Error {
  /** Tells it from other errors where they are printed. */
  override name = "NonFiniteError";

  /**
   * Puts step, op and checkpoint into the message.
   *
   * @param step Number of the step, from 0.
   * @param operation The first op whose result is not finite.
   * @param checkpoint The newest checkpoint, if there is one.
   */
  constructor(readonly step: number, readonly operation: string, checkpoint: string | undefined) {
    super(
      `Cannot continue training: expected finite numbers, found NaN or infinity in ${operation} of step ${
        step + 1
      }; ${
        checkpoint ? `the last good checkpoint is ${checkpoint}` : "no checkpoint was written yet"
      }`,
    );
  }
}

/**
 * Trains until `totalSteps`, or until the signal.
 *
 * A step's losses are read while the next one runs. A step that is not finite changed nothing (the optimizers see to that) and ends
 * the loop.
 *
 * @param stage What is trained.
 * @param options How long, how often, where to.
 * @returns Steps done; fewer than `totalSteps` if the signal came.
 * @throws {NonFiniteError} If a loss or a gradient is not finite.
 */
export async function runLoop(stage: TrainingStage, options: LoopOptions): Promise<number> {
  const { folder, totalSteps, signal } = options;
  let pending: (SubmittedStep & { step: number }) | undefined;
  let saved = options.startStep;
  const clock = options.idleMs && new StepClock(options.idleMs);
  let announce = options.onFirstStep;
  const finishPending = async (): Promise<void> => {
    if (!pending) return;
    const { step } = pending;
    const finished = pending;
    pending = undefined;
    await report(stage, { ...finished, step }, { ...options, clock });
    announce?.();
    announce = undefined;
  };
  const save = async (done: number): Promise<void> => {
    await finishPending();
    const path = folder.checkpointFile(done);
    await stage.save(path, done);
    await options.keeper.saved(path);
    options.log.flush();
    saved = done;
  };
  let done = options.startStep;
  while (done < totalSteps && !signal.aborted) {
    clock?.begin();
    const submitted = await stage.step(done);
    // Whoever awaits it gets the failure; if the step before fails first, nobody does, and that must not end the process.
    submitted.metrics.catch(() => {});
    await finishPending();
    pending = { ...submitted, step: done };
    done++;
    const last = done === totalSteps;
    // The first step is over when it is done, not when the second one is.
    if (announce) await finishPending();
    if (options.onStep) {
      await finishPending();
      await options.onStep();
    }
    const dues = [options.validateEvery, options.drawEvery, options.saveEvery];
    if (dues.some((every) => due(done, every, last))) clock?.interrupt();
    if (due(done, options.validateEvery, last)) {
      await finishPending();
      const metrics = await stage.validate(done);
      options.keeper.observe("val", metrics);
      note(options, { step: done, ...prefixed("validation", metrics) });
    }
    if (due(done, options.drawEvery, last)) {
      await finishPending();
      const path = await stage.draw(done);
      options.log.write({ step: done, picture: path });
      options.progress.say(`drew ${path}`);
    }
    if (due(done, options.saveEvery, last)) await save(done);
  }
  await finishPending();
  if (saved < done) await save(done);
  return done;
}

function due(done: number, every: number, last: boolean): boolean {
  return every > 0 && (done % every === 0 || last);
}

function prefixed(prefix: string, metrics: Metrics): Record<string, number> {
  return Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [`${prefix}/${name}`, value]),
  );
}

function note(options: LoopOptions, record: LogRecord): void {
  options.log.write(record);
  const parts = Object.entries(record).map(([name, value]) =>
    typeof value === "number" && name !== "step"
      ? `${name} ${value.toPrecision(4)}`
      : `${name} ${value}`
  );
  options.progress.say(parts.join(", "));
}

async function report(
  stage: TrainingStage,
  finished: SubmittedStep & { step: number },
  options: LoopOptions & { readonly clock: StepClock | undefined },
): Promise<void> {
  const { step, epoch, images } = finished;
  const stop = async (operation: string): Promise<never> => {
    options.log.write({ step: step + 1, event: "not finite", operation });
    throw new NonFiniteError(step, operation, (await options.folder.checkpoints()).at(-1));
  };
  let metrics: Metrics;
  try {
    metrics = await finished.metrics;
  } catch (error) {
    if (error instanceof AnomalyError) return await stop(error.operation);
    throw error;
  }
  if (Object.values(metrics).some((value) => !Number.isFinite(value))) {
    options.log.write({ step: step + 1, epoch, ...metrics });
    return await stop(await stage.locateNonFinite(step));
  }
  options.keeper.observe("train", metrics);
  if ((step + 1) % options.logEvery === 0) {
    const times = options.clock?.take();
    options.log.write({ step: step + 1, epoch, timeMs: Date.now(), ...times, ...metrics });
  }
  const losses = Object.fromEntries(
    options.shown.filter((name) => name in metrics).map((name) => [name, metrics[name]!]),
  );
  options.progress.update({ step: step + 1, epoch, losses, images });
}

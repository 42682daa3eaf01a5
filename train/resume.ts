/** Goes on with a training of a checkpoint: a run's own, or the reference's. @module */

import type { Adam } from "../nn/optim.ts";
import { type CheckpointEntry, loadCheckpoint, readCount, readStepCounts } from "./checkpoint.ts";
import type { LossScaling } from "./loss_scaling.ts";
import { openTraining, type ReferencePosition } from "./reference_training.ts";
import type { StageOptimizer } from "./stage_optimizers.ts";

/** What is continued. */
export interface ResumeOptions {
  /** Format of the stage's checkpoints. */
  readonly format: string;
  /** Every tensor of a checkpoint. */
  readonly entries: Iterable<CheckpointEntry>;
  /** The optimizers, in the reference's order. */
  readonly optimizers: readonly (StageOptimizer & { readonly adam: Adam })[];
  /** Scale of the losses, with precision f16. */
  readonly lossScaling: LossScaling | undefined;
  /** Gets what is to know of a checkpoint of the reference. */
  readonly say: (line: string) => void;
}

/** Where the training goes on. */
export interface Resumed {
  /** Steps done. */
  readonly step: number;
  /** Where the reference's training was, if it is one. */
  readonly reference?: ReferencePosition;
}

/** LeCAM's averages, which the reference does not save. */
const LECAM = "loss.lecam_ema.";

/** Whether a tensor is of the perceptual loss, which the reference saves and nothing trains. */
function isFrozen(name: string): boolean {
  return name.startsWith("loss.perceptual_loss.");
}

/**
 * Restores weights, averages, moments and counters.
 *
 * @param path The checkpoint.
 * @param options What is restored.
 * @returns Where the training goes on.
 * @throws {UserError} If the checkpoint is of another model or other optimizers, or lacks something.
 */
export async function resumeTraining(path: string, options: ResumeOptions): Promise<Resumed> {
  const { format, optimizers, lossScaling, say } = options;
  using opened = await openTraining(path, { format, optimizers });
  const { file, reference } = opened;
  const entries = [...options.entries];
  const kept = reference ? entries.filter(({ name }) => !name.startsWith(LECAM)) : entries;
  const metadata = await loadCheckpoint(file, kept, {
    format,
    ...(reference && { say, complete: false, known: [...file.entries.keys()].filter(isFrozen) }),
  });
  if (kept.length < entries.length) {
    say("LeCAM's averages start anew, as the reference does not save them");
  }
  for (const { adam, countsKey } of optimizers) {
    adam.restoreStepCounts(readStepCounts(metadata, countsKey, path));
  }
  lossScaling?.resume(metadata, path);
  return { step: readCount(metadata, "step", path), ...(reference && { reference }) };
}

/** Rates that differ by more than rounding are of another schedule. */
const SAME_RATE = 1e-6;

/**
 * Says how a training of the reference goes on here.
 *
 * @param reference Where it was.
 * @param here Step and epoch of the next batch, and the learning rates of this step and the one before.
 * @returns A line for whoever watches.
 */
export function describeContinuation(
  { epoch, learningRate }: ReferencePosition,
  here: { readonly step: number; readonly epoch: number; readonly rates: readonly number[] },
): string {
  // Some schedules set the rate behind a step, some before it.
  const same = here.rates.some((rate) =>
    Math.abs(rate - learningRate) <= SAME_RATE * Math.abs(learningRate)
  );
  return `the checkpoint is of epoch ${epoch} and learning rate ${learningRate}; step ${here.step} is in epoch ${here.epoch} here, with learning rate ${
    here.rates[0]
  }${same ? "" : ": devices, batch size or schedule differ"}`;
}

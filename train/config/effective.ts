/**
 * Answers that several options give together: how long a run is, when it validates, what it clips.
 *
 * @module
 */
import { isTokenizerRun, type RunConfig, type TrainerConfig } from "./types.ts";

/** Lightning's length of a run that names none. */
const DEFAULT_EPOCHS = 1000;

function limit(value: number | null): number {
  return value === null || value < 0 ? Infinity : value;
}

/**
 * Optimizer steps of a whole run.
 *
 * @param trainer The trainer's options.
 * @param stepsPerEpoch Optimizer steps of an epoch.
 * @returns The smaller of `maxSteps` and `maxEpochs`; 1000 epochs if neither limits.
 */
export function totalSteps(trainer: TrainerConfig, stepsPerEpoch: number): number {
  const steps = Math.min(limit(trainer.maxSteps), limit(trainer.maxEpochs) * stepsPerEpoch);
  return Number.isFinite(steps) ? steps : DEFAULT_EPOCHS * stepsPerEpoch;
}

/**
 * Optimizer steps between two validations.
 *
 * @param trainer The trainer's options.
 * @param stepsPerEpoch Optimizer steps of an epoch.
 * @returns `valEveryNSteps` if given; otherwise what the reference's two options mean, at least 1.
 */
export function validationInterval(trainer: TrainerConfig, stepsPerEpoch: number): number {
  const { valEveryNSteps, valCheckInterval, checkValEveryNEpoch } = trainer;
  if (valEveryNSteps !== null) return valEveryNSteps;
  if (valCheckInterval > 1) return Math.round(valCheckInterval);
  return Math.max(1, Math.floor(valCheckInterval * stepsPerEpoch * (checkValEveryNEpoch ?? 1)));
}

/**
 * Optimizer steps between two checkpoints.
 *
 * @param trainer The trainer's options.
 * @param stepsPerEpoch Optimizer steps of an epoch.
 * @returns `saveEveryNSteps`, or an epoch.
 */
export function saveInterval(trainer: TrainerConfig, stepsPerEpoch: number): number {
  return trainer.saveEveryNSteps ?? Math.max(1, stepsPerEpoch);
}

/**
 * Global norm to which the gradient is clipped.
 *
 * @param config The run; in stage I the model's own option goes before the trainer's.
 * @returns The norm; null for no clipping.
 */
export function gradientClip(config: RunConfig): number | null {
  const own = isTokenizerRun(config) ? config.model.params.gradientClipVal : 0;
  return own || config.trainer.gradientClipVal || null;
}

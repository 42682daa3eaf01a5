/**
 * Answers that several options give together: how long a run is, when it validates, what it clips.
 *
 * @module
 */
import {
  isTokenizerRun,
  type ModelCheckpointConfig,
  type RunConfig,
  type TrainerConfig,
} from "./types.ts";

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
 * @returns `saveEveryNSteps` or ModelCheckpoint's own interval if given. Otherwise what Lightning does: the end of each validation where
 * these do not come once an epoch, as in pre-training, else the end of epochs.
 */
export function saveInterval(trainer: TrainerConfig, stepsPerEpoch: number): number {
  const { saveEveryNSteps, valEveryNSteps, valCheckInterval, checkValEveryNEpoch } = trainer;
  const { everyNTrainSteps = null, everyNEpochs = 1 } = modelCheckpoint(trainer) ?? {};
  const steps = saveEveryNSteps ?? everyNTrainSteps;
  if (steps !== null) return steps;
  if (valEveryNSteps === null && (valCheckInterval !== 1 || checkValEveryNEpoch !== 1)) {
    return validationInterval(trainer, stepsPerEpoch);
  }
  return Math.max(1, stepsPerEpoch * everyNEpochs);
}

/** Which checkpoints a run keeps beside the newest ones, which it always does. */
export interface CheckpointRetention {
  /** How many of the best; Infinity keeps all. */
  readonly best: number;
  /** Whose values rank them: a metric of the training or of the validation; null ranks none. */
  readonly monitor: {
    readonly split: "train" | "val";
    readonly metric: string;
    readonly mode: "min" | "max";
  } | null;
}

/**
 * Which checkpoints a run keeps.
 *
 * @param trainer The trainer's options.
 * @returns What ModelCheckpoint says; without one, none but the newest.
 */
export function checkpointRetention(trainer: TrainerConfig): CheckpointRetention {
  const { saveTopK = 0, monitor = null, mode = "min" } = modelCheckpoint(trainer) ?? {};
  const best = saveTopK === -1 ? Infinity : saveTopK;
  if (monitor === null) return { best, monitor };
  const cut = monitor.indexOf("/");
  const split = monitor.startsWith("train/") ? "train" : "val";
  return { best, monitor: { split, metric: monitor.slice(cut + 1), mode } };
}

function modelCheckpoint({ callbacks }: TrainerConfig): ModelCheckpointConfig | undefined {
  for (const { target, params } of callbacks ?? []) {
    if (target === "tessera.callbacks.ModelCheckpoint") return params;
  }
  return undefined;
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

/**
 * Images of a batch, once it is known how many fit.
 *
 * @param config The run.
 * @returns The number.
 * @throws {TypeError} If the configuration still says "auto".
 */
export function batchSizeOf({ data }: RunConfig): number {
  const { batchSize } = data.params;
  if (batchSize !== "auto") return batchSize;
  throw new TypeError("Cannot make batches: expected a batch size, found auto");
}

/**
 * Sets the number of images of a batch.
 *
 * @param config The run.
 * @param batchSize The number.
 * @returns The run with it.
 */
export function withBatchSize<Config extends RunConfig>(config: Config, batchSize: number): Config {
  const { data } = config;
  return { ...config, data: { ...data, params: { ...data.params, batchSize } } };
}

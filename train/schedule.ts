/**
 * Learning rate and weight decay of both stages at a step, by the configuration's options.
 *
 * Everything here is a pure function of its arguments: a resumed run needs no state of a scheduler.
 *
 * @module
 */
import {
  cosineWeightDecay,
  type DecayKind,
  droppedLearningRate,
  linearWarmup,
  linearWarmupCosineDecay,
  warmupDecayLearningRate,
} from "./schedule_curves.ts";

export type { DecayKind };

/** Where a run stands and how long it is. */
export interface RunPosition {
  /** Optimizer step of the whole run, from 0. */
  readonly step: number;
  /** Optimizer steps in an epoch. */
  readonly stepsPerEpoch: number;
  /** Optimizer steps of the whole run. */
  readonly maxSteps: number;
  /** Step at which this process began: 0, or that of the checkpoint it resumed. */
  readonly startStep: number;
}

/** Options of {@linkcode tokenizerLearningRate}, by the configuration's names. */
export interface TokenizerScheduleOptions {
  /** Base learning rate. */
  readonly learningRate: number;
  /** Learning rate from the start of this process on, or null. */
  readonly resumeLr: number | null;
  /** Multiplier schedule: none, linear warm-up, or linear warm-up and cosine decay. */
  readonly schedulerType: "None" | "linear-warmup" | "linear-warmup_cosine-decay";
  /** Epochs of the warm-up of `schedulerType`. */
  readonly warmupEpochs: number;
  /** Learning rate below which the cosine does not fall. */
  readonly minLearningRate: number;
  /** Epochs from which on the rate is multiplied by `lrDropRate`, or null. */
  readonly lrDropEpoch: readonly number[] | null;
  /** Pre-training: steps from which on the rate is multiplied by `lrDropRate`, or null. */
  readonly lrDropIter: readonly number[] | null;
  /** Factor of one drop. */
  readonly lrDropRate: number;
  /** Pre-training: shape of the decay after the warm-up, or null for none. */
  readonly scheType: DecayKind | null;
  /** Pre-training: epochs of the warm-up, used where `maxIter` is null. */
  readonly wp: number;
  /** Pre-training: multiplier at step 0. */
  readonly wp0: number;
  /** Pre-training: multiplier at the last step. */
  readonly wpe: number;
  /** Pre-training: steps of the whole run, or null for those of the trainer. */
  readonly maxIter: number | null;
  /** Pre-training: steps of the warm-up, used where `maxIter` is given. */
  readonly wpIter: number | null;
}

/** The multiplier schedules: they set the rate anew after every step, so `resumeLr` lasts one step only. */
function multipliedLearningRate(position: RunPosition, options: TokenizerScheduleOptions): number {
  const { step, stepsPerEpoch, maxSteps, startStep } = position;
  const { learningRate, resumeLr, schedulerType, minLearningRate } = options;
  if (resumeLr !== null && step === startStep) return resumeLr;
  const warmupSteps = Math.round(stepsPerEpoch * options.warmupEpochs);
  if (schedulerType === "linear-warmup") return learningRate * linearWarmup(step, { warmupSteps });
  const minMultiplier = learningRate > 0 ? minLearningRate / learningRate : 0;
  return learningRate *
    linearWarmupCosineDecay(step, { warmupSteps, maxSteps, minMultiplier });
}

/**
 * Learning rate of stage I (generator and discriminator alike) at a step.
 *
 * @param position Step, steps per epoch, steps in all, first step of this process.
 * @param options The tokenizer's schedule options.
 * @returns The learning rate of this step.
 * @see SEED-Voken src/IBQ/models/ibqgan.py and ibqgan_pretrain.py, `on_train_start`, `training_step`, `lr_annealing`, `configure_optimizers`.
 */
export function tokenizerLearningRate(
  position: RunPosition,
  options: TokenizerScheduleOptions,
): number {
  const { step, stepsPerEpoch, startStep } = position;
  const { learningRate, resumeLr, lrDropEpoch, lrDropIter, lrDropRate, scheType } = options;
  if (options.schedulerType !== "None") return multipliedLearningRate(position, options);
  if (scheType !== null && resumeLr === null) {
    return warmupDecayLearningRate(step, {
      peakLearningRate: learningRate,
      warmupSteps: options.maxIter === null ? options.wp * stepsPerEpoch : options.wpIter ?? 0,
      maxSteps: options.maxIter ?? position.maxSteps,
      startMultiplier: options.wp0,
      endMultiplier: options.wpe,
      decay: scheType,
    });
  }
  const baseLearningRate = resumeLr ?? learningRate;
  if (lrDropIter !== null) {
    // The reference compares with the number of steps done plus one, after the step: 50 acts from step 49 on.
    const since = resumeLr === null ? 1 : Math.max(1, startStep + 1);
    return droppedLearningRate(step + 1, {
      baseLearningRate,
      drops: lrDropIter,
      dropRate: lrDropRate,
      since,
    });
  }
  return droppedLearningRate(Math.floor(step / stepsPerEpoch), {
    baseLearningRate,
    drops: lrDropEpoch ?? [],
    dropRate: lrDropRate,
    since: resumeLr === null ? 0 : Math.floor(startStep / stepsPerEpoch),
  });
}

/** Options of {@linkcode transformerSchedule}, by the configuration's names. */
export interface TransformerScheduleOptions {
  /** Learning rate at the end of the warm-up. */
  readonly learningRate: number;
  /** Weight decay of the first step. */
  readonly weightDecay: number;
  /** Epochs of the warm-up. */
  readonly wp: number;
  /** Multiplier of the learning rate at step 0. */
  readonly wp0: number;
  /** Multiplier of the learning rate at the last step. */
  readonly wpe: number;
  /** Weight decay of the last step; 0 keeps `weightDecay`. */
  readonly twde: number;
}

/** What the optimizer of stage II gets for a step. */
export interface OptimizerSettings {
  /** Learning rate. */
  readonly learningRate: number;
  /** Decoupled weight decay, for every parameter. */
  readonly weightDecay: number;
}

/**
 * Learning rate and weight decay of stage II at a step.
 *
 * @param position Step, steps per epoch, steps in all.
 * @param options The transformer's schedule options.
 * @returns Both values.
 * @see SEED-Voken src/IBQ/models/cond_transformer_llama.py, `training_step`, `lr_wd_annealing`.
 */
export function transformerSchedule(
  position: RunPosition,
  options: TransformerScheduleOptions,
): OptimizerSettings {
  const { step, stepsPerEpoch, maxSteps } = position;
  const { weightDecay } = options;
  return {
    learningRate: warmupDecayLearningRate(step, {
      peakLearningRate: options.learningRate,
      warmupSteps: options.wp * stepsPerEpoch,
      maxSteps,
      startMultiplier: options.wp0,
      endMultiplier: options.wpe,
      decay: "lin0",
    }),
    weightDecay: cosineWeightDecay(step, {
      weightDecay,
      endWeightDecay: options.twde || weightDecay,
      maxSteps,
    }),
  };
}

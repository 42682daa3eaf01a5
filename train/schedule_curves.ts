/**
 * The curves that learning rate and weight decay follow: pure functions of the step.
 *
 * @module
 */

/** Share of the iterations after the warm-up during which the linear decay waits at the peak. */
const FLAT_SHARE = 0.05;

/** Options of {@linkcode linearWarmup}. */
export interface LinearWarmupOptions {
  /** Steps until the multiplier is 1; 0 for none. */
  readonly warmupSteps: number;
}

/**
 * Multiplier of the learning rate that rises from 0 to 1 and stays there.
 *
 * @param step Optimizer step, from 0.
 * @param options `warmupSteps`.
 * @returns step / warmupSteps, at most 1.
 * @see SEED-Voken src/IBQ/modules/scheduler/lr_scheduler.py, `fn_LinearWarmup`.
 */
export function linearWarmup(step: number, options: LinearWarmupOptions): number {
  const { warmupSteps } = options;
  return step < warmupSteps ? step / Math.max(1, warmupSteps) : 1;
}

/** Options of {@linkcode linearWarmupCosineDecay}. */
export interface LinearWarmupCosineDecayOptions extends LinearWarmupOptions {
  /** Step at which the cosine reaches 0. */
  readonly maxSteps: number;
  /** Lower bound of the multiplier after the warm-up. */
  readonly minMultiplier: number;
}

/**
 * Multiplier of the learning rate that rises linearly, then falls along half a cosine.
 *
 * Past `maxSteps` the cosine rises again, as in the reference.
 *
 * @param step Optimizer step, from 0.
 * @param options `warmupSteps`, `maxSteps`, `minMultiplier`.
 * @returns A number between 0 and 1.
 * @see SEED-Voken src/IBQ/modules/scheduler/lr_scheduler.py, `fn_LinearWarmup_CosineDecay`.
 */
export function linearWarmupCosineDecay(
  step: number,
  options: LinearWarmupCosineDecayOptions,
): number {
  const { warmupSteps, maxSteps, minMultiplier } = options;
  if (step < warmupSteps) return linearWarmup(step, options);
  const progress = maxSteps > warmupSteps ? (step - warmupSteps) / (maxSteps - warmupSteps) : 1;
  return Math.max(0.5 * (Math.cos(progress * Math.PI) + 1), minMultiplier);
}

/** Options of {@linkcode droppedLearningRate}. */
export interface LearningRateDropOptions {
  /** Learning rate before the first drop. */
  readonly baseLearningRate: number;
  /** Positions (epochs or steps, from 0) from which on the rate is multiplied once more. */
  readonly drops: readonly number[];
  /** Factor of one drop. */
  readonly dropRate: number;
  /** Drops up to this position do not count, as `resume_lr` replaced the rate there; default none. */
  readonly since?: number;
}

/**
 * Learning rate that is multiplied by a factor at given epochs or steps.
 *
 * The products are formed one after the other, so they round as the reference's do.
 *
 * @param position Epoch or step in which the rate is used, from 0.
 * @param options `baseLearningRate`, `drops`, `dropRate`, `since`.
 * @returns The learning rate during `position`.
 * @see SEED-Voken src/IBQ/models/ibqgan.py, `lr_annealing`.
 */
export function droppedLearningRate(position: number, options: LearningRateDropOptions): number {
  const { baseLearningRate, drops, dropRate, since = -Infinity } = options;
  let learningRate = baseLearningRate;
  for (const drop of new Set(drops)) {
    if (drop > since && drop <= position) learningRate *= dropRate;
  }
  return learningRate;
}

/** Shape of the decay after a warm-up: linear after a flat part, or half a cosine. */
export type DecayKind = "lin0" | "cos";

/** Options of {@linkcode warmupDecayLearningRate}. */
export interface WarmupDecayOptions {
  /** Learning rate at the end of the warm-up. */
  readonly peakLearningRate: number;
  /** Steps of the warm-up; rounded, ties to even. */
  readonly warmupSteps: number;
  /** Steps of the whole run. */
  readonly maxSteps: number;
  /** Multiplier at step 0. */
  readonly startMultiplier: number;
  /** Multiplier at the last step. */
  readonly endMultiplier: number;
  /** Shape of the decay. */
  readonly decay: DecayKind;
}

/** Rounds to the nearest whole number and halves to the even one, as Python does. */
function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/**
 * Learning rate that rises linearly from a share of its peak, then decays to another share of it.
 *
 * With `lin0` the rate stays at its peak for 5 % of the remaining steps before it falls linearly.
 *
 * @param step Optimizer step, from 0.
 * @param options Peak, warm-up, length, first and last multiplier, shape of the decay.
 * @returns The learning rate of this step.
 * @see SEED-Voken src/IBQ/models/ibqgan_pretrain.py, `lr_annealing`; src/IBQ/models/cond_transformer_llama.py, `lr_wd_annealing`.
 */
export function warmupDecayLearningRate(step: number, options: WarmupDecayOptions): number {
  const { peakLearningRate, maxSteps, startMultiplier, endMultiplier, decay } = options;
  const warmupSteps = roundHalfToEven(options.warmupSteps);
  if (step < warmupSteps) {
    return (startMultiplier + (1 - startMultiplier) * step / warmupSteps) * peakLearningRate;
  }
  const decaySteps = maxSteps - 1 - warmupSteps;
  const progress = decaySteps > 0 ? (step - warmupSteps) / decaySteps : 0;
  if (decay === "cos") {
    const cosine = 0.5 + 0.5 * Math.cos(Math.PI * progress);
    return (endMultiplier + (1 - endMultiplier) * cosine) * peakLearningRate;
  }
  if (progress < FLAT_SHARE) return peakLearningRate;
  const rest = (1 - progress) / (1 - FLAT_SHARE);
  return (endMultiplier + (1 - endMultiplier) * rest) * peakLearningRate;
}

/** Options of {@linkcode cosineWeightDecay}. */
export interface CosineWeightDecayOptions {
  /** Weight decay of the first step. */
  readonly weightDecay: number;
  /** Weight decay of the last step. */
  readonly endWeightDecay: number;
  /** Steps of the whole run. */
  readonly maxSteps: number;
}

/**
 * Weight decay that moves from one value to another along half a cosine.
 *
 * The reference gives it to every parameter, biases and norms included.
 *
 * @param step Optimizer step, from 0.
 * @param options First value, last value, number of steps.
 * @returns The weight decay of this step.
 * @see SEED-Voken src/IBQ/models/cond_transformer_llama.py, `lr_wd_annealing`.
 */
export function cosineWeightDecay(step: number, options: CosineWeightDecayOptions): number {
  const { weightDecay, endWeightDecay, maxSteps } = options;
  const progress = maxSteps > 1 ? step / (maxSteps - 1) : 0;
  const cosine = 0.5 + 0.5 * Math.cos(Math.PI * progress);
  return endWeightDecay + (weightDecay - endWeightDecay) * cosine;
}

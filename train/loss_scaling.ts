/** What precision f16 adds to the steps of a learner: scaled losses, and updates that are left out. @module */

import { LossScaler, type LossScaleState } from "../nn/loss_scale.ts";
import type { Adam } from "../nn/optim.ts";
import { type CheckpointMetadata, readJson } from "./checkpoint.ts";
import { isMapping } from "./config/field.ts";
import { UserError } from "./errors.ts";
import type { Metrics } from "./loop.ts";

/** Key of the state in checkpoints. */
const KEY = "loss_scale";

/** What a learner tells of itself. */
export interface LossScalingOptions {
  /** Its optimizers, by the name of the metric that is the norm of their gradients. */
  readonly optimizers: Readonly<Record<string, Adam>>;
  /** Metrics that follow from gradients, so that they may be infinite although the losses are not. */
  readonly fromGradients?: readonly string[];
}

/** One step with scaled losses. */
export interface ScaledUpdate {
  /** Multiplies the upstream gradient of the losses. */
  readonly scale: number;
  /**
   * Ends the step, given its metrics.
   *
   * @returns Metrics for the log. Where gradients overflowed, what is not finite is left out and `skipped_updates` counts the
   * optimizers that did nothing; what stays not finite is an error.
   */
  readonly finish: (metrics: Metrics) => Metrics;
}

/** A step in f32: its losses need no scale. */
export const UNSCALED: ScaledUpdate = { scale: 1, finish: (metrics) => metrics };

/** Scales the losses of a learner's steps. */
export class LossScaling {
  readonly #scaler = new LossScaler();
  readonly #options: LossScalingOptions;

  /**
   * Starts with the first scale.
   *
   * @param options The optimizers.
   */
  constructor(options: LossScalingOptions) {
    this.#options = options;
  }

  /**
   * Begins a step.
   *
   * @returns Its scale, and how to end it.
   * @throws {TypeError} If the step before the last has not ended.
   */
  begin(): ScaledUpdate {
    const { scale, undone, finish } = this.#scaler.begin();
    for (const name of undone) uncount(this.#options.optimizers[name]);
    return { scale, finish: (metrics) => this.#finish(metrics, { scale, finish }) };
  }

  /**
   * Gives what a checkpoint has to hold.
   *
   * @returns Text for its header.
   * @throws {TypeError} If a step has not ended.
   */
  metadata(): CheckpointMetadata {
    return lossScaleMetadata(this.#scaler.state());
  }

  /**
   * Continues from a checkpoint, or with the first scale where it was written without one.
   *
   * @param metadata Text of its header.
   * @param path The file, for messages.
   * @throws {UserError} If the text is no state.
   */
  resume(metadata: CheckpointMetadata, path: string): void {
    if (metadata[KEY] === undefined) return;
    const state = readJson(metadata, KEY, path);
    if (!isState(state)) {
      throw new UserError(
        `Cannot load ${path}: expected scale, cleanSteps and steps as ${KEY}, found ${
          metadata[KEY]
        }`,
      );
    }
    this.#scaler.restore(state);
  }

  #finish(
    metrics: Metrics,
    step: { scale: number; finish: (skipped: readonly string[]) => boolean },
  ): Metrics {
    const { optimizers, fromGradients = [] } = this.#options;
    const notFinite = Object.keys(metrics).filter((name) => !Number.isFinite(metrics[name]));
    const skipped = Object.keys(optimizers).filter((name) => notFinite.includes(name));
    const smallerHelps = step.finish(skipped);
    const logged = { ...metrics, "loss_scale": step.scale };
    const excused = new Set([...Object.keys(optimizers), ...fromGradients]);
    const overflow = skipped.length > 0 && notFinite.every((name) => excused.has(name));
    if (!overflow || !smallerHelps) return logged;
    const kept = Object.entries(logged).filter(([name]) => !notFinite.includes(name));
    return { ...Object.fromEntries(kept), "skipped_updates": skipped.length };
  }
}

/**
 * Writes a scale as checkpoints have it.
 *
 * @param state The scale, and how long it has served.
 * @returns Text for the header.
 */
export function lossScaleMetadata(state: LossScaleState): CheckpointMetadata {
  return { [KEY]: JSON.stringify(state) };
}

function isState(value: unknown): value is LossScaleState {
  const isStep = (step: unknown): boolean =>
    isMapping(step) && isScale(step.scale) && Array.isArray(step.skipped) &&
    step.skipped.every((name: unknown) => typeof name === "string");
  return isMapping(value) && isScale(value.scale) && Number.isInteger(value.cleanSteps) &&
    Array.isArray(value.steps) && value.steps.every(isStep);
}

function isScale(value: unknown): boolean {
  return typeof value === "number" && value > 0 && Number.isFinite(value);
}

/** Takes back that an optimizer has counted a step: its corrections of the moments depend on the count. */
function uncount(optimizer: Adam | undefined): void {
  if (!optimizer) return;
  const counts = Object.entries(optimizer.stepCounts);
  optimizer.restoreStepCounts(
    Object.fromEntries(counts.map(([name, count]) => [name, Math.max(0, count - 1)])),
  );
}

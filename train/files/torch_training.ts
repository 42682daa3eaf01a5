/** What Lightning's checkpoints hold of a training beside the weights: counters, and the state of PyTorch's optimizers. @module */

import { PickleTuple } from "./pickle.ts";
import { TorchTensor } from "./torch_objects.ts";

/** A training as a checkpoint describes it. Tensors are read by their names, as weights are. */
export interface TorchTraining {
  /** Steps done. */
  readonly globalStep: number;
  /** Epoch in which it was written, from 0. */
  readonly epoch: number;
  /** The optimizers, in the order in which the training made them. */
  readonly optimizers: readonly TorchOptimizer[];
  /** Scale of the losses in a training with 16-bit floats. */
  readonly lossScale?: { readonly scale: number; readonly cleanSteps: number };
}

/** An optimizer. */
export interface TorchOptimizer {
  /** Its groups of parameters. */
  readonly groups: readonly TorchGroup[];
  /** State by number of the parameter. */
  readonly states: ReadonlyMap<number, TorchParameterState>;
}

/** Parameters that share settings. */
export interface TorchGroup {
  /** Their numbers, in the order in which the optimizer got them. */
  readonly parameters: readonly number[];
  /** The other entries: `lr`, `betas`, `eps`, …; numbers, truth values, lists of numbers. */
  readonly settings: ReadonlyMap<string, unknown>;
}

/** What an optimizer remembers of a parameter. */
export interface TorchParameterState {
  /** Names of tensors by key, such as `exp_avg`. */
  readonly tensors: ReadonlyMap<string, string>;
  /** Numbers by key: old files have `step` so. */
  readonly numbers: ReadonlyMap<string, number>;
}

/**
 * Reads the state of a training.
 *
 * @param value Content of the checkpoint.
 * @returns The training and its tensors by the names that it gives them; undefined where the checkpoint has weights only.
 */
export function trainingOf(
  value: unknown,
): { training: TorchTraining; tensors: ReadonlyMap<string, TorchTensor> } | undefined {
  if (!(value instanceof Map)) return undefined;
  const states: unknown = value.get("optimizer_states");
  if (!Array.isArray(states)) return undefined;
  const tensors = new Map<string, TorchTensor>();
  const optimizers = states.map((state: unknown, i) => optimizerOf(state, { number: i, tensors }));
  const lossScale = lossScaleOf(value.get("MixedPrecision"));
  const training = {
    globalStep: numberOr(value.get("global_step"), NaN),
    epoch: numberOr(value.get("epoch"), 0),
    optimizers,
    ...(lossScale && { lossScale }),
  };
  return { training, tensors };
}

function optimizerOf(
  value: unknown,
  { number, tensors }: { number: number; tensors: Map<string, TorchTensor> },
): TorchOptimizer {
  const states = new Map<number, TorchParameterState>();
  for (const [parameter, entry] of entriesOf(entriesOf(value).get("state"))) {
    if (typeof parameter !== "number") continue;
    const state = { tensors: new Map<string, string>(), numbers: new Map<string, number>() };
    for (const [key, item] of entriesOf(entry)) {
      if (typeof key !== "string") continue;
      if (typeof item === "number") state.numbers.set(key, item);
      if (!(item instanceof TorchTensor)) continue;
      const name = `optimizer_states.${number}.state.${parameter}.${key}`;
      state.tensors.set(key, name);
      tensors.set(name, item);
    }
    states.set(parameter, state);
  }
  const groups = listOf(entriesOf(value).get("param_groups")).map((group): TorchGroup => {
    const settings = new Map<string, unknown>();
    for (const [key, item] of entriesOf(group)) {
      if (typeof key === "string" && key !== "params") settings.set(key, plain(item));
    }
    const parameters = listOf(entriesOf(group).get("params")).map((item) => numberOr(item, NaN));
    return { parameters, settings };
  });
  return { groups, states };
}

function lossScaleOf(value: unknown): TorchTraining["lossScale"] {
  const state = entriesOf(value);
  const scale = numberOr(state.get("scale"), NaN);
  if (!(scale > 0)) return undefined;
  return { scale, cleanSteps: numberOr(state.get("_growth_tracker"), 0) };
}

function entriesOf(value: unknown): ReadonlyMap<unknown, unknown> {
  return value instanceof Map ? value : new Map();
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === "number" ? value : otherwise;
}

function plain(value: unknown): unknown {
  return value instanceof PickleTuple ? value.items : value;
}

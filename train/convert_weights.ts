/** Weights from one format to another. @module */

import { ModuleContext } from "../nn/module.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { Transformer } from "../models/transformer.ts";
import { type CheckpointEntry, compareWeights } from "./checkpoint.ts";
import type { CompleteGptConfig, TokenizerConfig } from "./config/mod.ts";
import { toFloat32, toNumbers } from "./files/elements.ts";
import type { TensorSource } from "./files/safetensors.ts";
import type { TensorFile } from "./files/tensor_file.ts";
import type { WeightsReport } from "./load_report.ts";
import { TRANSFORMER } from "./stage_optimizers.ts";

/** Names of a run's checkpoint that are the state of a training and no weights: optimizers, and LeCAM's averages. */
const TRAINING_STATE = /^(optimizer|loss\.lecam_ema)\b/;
/** Averages in the reference's checkpoints. Its loader wants them behind the weights. */
const AVERAGE = /^model_ema\./;

/** Counters that are whole numbers in the reference's checkpoints; a run keeps all tensors as float32. */
const COUNTERS: readonly (readonly [RegExp, "I64" | "I32"])[] = [
  [/\.num_batches_tracked$/, "I64"],
  [/^model_ema\.num_updates$/, "I32"],
];

/**
 * Takes the tensors of a file as PyTorch's users expect them: weights without the state of a training, averages last, counters as
 * whole numbers.
 *
 * @param file The file.
 * @returns The tensors, each read when it is its turn.
 */
export function referenceTensors(file: TensorFile): TensorSource[] {
  const names = [...file.entries.keys()].filter((name) => !TRAINING_STATE.test(name)).sort();
  names.sort((a, b) => Number(AVERAGE.test(a)) - Number(AVERAGE.test(b)));
  return names.map((name) => {
    const { dtype, shape } = file.entries.get(name)!;
    const [, counter] = COUNTERS.find(([pattern]) => pattern.test(name)) ?? [];
    if (!counter || dtype !== "F32") {
      return { name, dtype, shape, data: () => file.bytes(name) };
    }
    return {
      name,
      dtype: counter,
      shape,
      data: async () => {
        const numbers = toNumbers(await file.bytes(name), dtype);
        return counter === "I64"
          ? BigInt64Array.from(numbers, BigInt)
          : Int32Array.from(numbers, Math.round);
      },
    };
  });
}

/**
 * Takes the tensors of a file as they are.
 *
 * @param file The file.
 * @returns The tensors, each read when it is its turn.
 */
export function allTensors(file: TensorFile): TensorSource[] {
  return [...file.entries.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    data: () => file.bytes(name),
  }));
}

/**
 * Takes the tensors of a file as a run keeps them, as float32.
 *
 * @param file The file.
 * @param report What of it fits the model.
 * @returns The weights of the model, and what else the file has of losses and averages.
 */
export function runTensors(file: TensorFile, report: WeightsReport): TensorSource[] {
  const left = report.aside.filter((name) => /^(loss|model_ema)\./.test(name));
  return [...report.loaded, ...left].map((name) => {
    const { dtype, shape } = file.entries.get(name)!;
    return {
      name,
      dtype: "F32",
      shape,
      data: async () => toFloat32(await file.bytes(name), dtype),
    };
  });
}

/** A model by its sizes alone. */
export type ModelSizes =
  | { readonly stage: "tokenizer"; readonly params: TokenizerConfig }
  | { readonly stage: "transformer"; readonly gpt: CompleteGptConfig };

/**
 * Compares a file with a model of which only names and shapes are made.
 *
 * @param file The file.
 * @param sizes The model.
 * @returns What fits and what not.
 */
export function compareWithModel(file: TensorFile, sizes: ModelSizes): WeightsReport {
  const context = ModuleContext.outline();
  const parameters = sizes.stage === "tokenizer"
    ? new Tokenizer(context, sizes.params).namedParameters()
    : new Transformer(context, sizes.gpt).namedParameters(TRANSFORMER);
  const entries = Array.from(parameters, ([name, parameter]): CheckpointEntry => ({
    name,
    parameter,
  }));
  return compareWeights(file, entries, { complete: false });
}

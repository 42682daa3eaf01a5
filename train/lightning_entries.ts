/** A run's state of training as Lightning's checkpoints have it, so that the reference can go on with it. @module */

import { NLayerDiscriminator } from "../models/discriminator.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { Transformer } from "../models/transformer.ts";
import { ModuleContext } from "../nn/module.ts";
import { type CheckpointMetadata, readCount, readStepCounts } from "./checkpoint.ts";
import type { CompleteGptConfig, TokenizerRunConfig, TransformerRunConfig } from "./config/mod.ts";
import type { TensorSource } from "./files/safetensors.ts";
import type { TensorFile } from "./files/tensor_file.ts";
import type { TorchValue } from "./files/torch_writer.ts";
import {
  type StageOptimizer,
  tokenizerOptimizers,
  transformerOptimizers,
} from "./stage_optimizers.ts";

/** A training that is written down. */
export type WrittenTraining =
  | { readonly stage: "tokenizer"; readonly config: TokenizerRunConfig }
  | {
    readonly stage: "transformer";
    readonly config: TransformerRunConfig;
    readonly gpt: CompleteGptConfig;
  };

/** Version of Lightning whose layout this is. */
const LIGHTNING_VERSION = "2.2.0";

/**
 * Makes what Lightning needs beside the weights to go on with a training: counters, progress of its loops, moments.
 *
 * @param file A run's checkpoint.
 * @param training Its configuration.
 * @returns The entries; undefined where the file has no moments, or a schedule whose state only Lightning has.
 */
export function lightningEntries(
  file: TensorFile,
  training: WrittenTraining,
): ReadonlyMap<string, TorchValue> | undefined {
  const metadata = Object.fromEntries(file.metadata);
  const optimizers = optimizersOf(training);
  const learningRate = Number(metadata["learning_rate"] ?? NaN);
  const complete = optimizers.length > 0 &&
    optimizers.every(({ countsKey }) => metadata[countsKey] !== undefined);
  const scheduled = training.stage === "tokenizer" &&
    training.config.model.params.schedulerType !== "None";
  if (!Number.isFinite(learningRate) || !complete || scheduled) return undefined;
  const count = (key: string): number => readCount(metadata, key, file.name);
  const position = {
    step: count("step"),
    epoch: count("epoch"),
    batchInEpoch: count("batch_in_epoch"),
  };
  return new Map<string, TorchValue>([
    ["epoch", position.epoch],
    ["global_step", position.step],
    ["pytorch-lightning_version", LIGHTNING_VERSION],
    ["loops", new Map([["fit_loop", fitLoop(position)]])],
    ["callbacks", new Map()],
    [
      "optimizer_states",
      optimizers.map((optimizer) =>
        stateOf(file, optimizer, { metadata, settings: settingsOf(training, learningRate) })
      ),
    ],
    ["lr_schedulers", []],
  ]);
}

function optimizersOf(training: WrittenTraining): readonly StageOptimizer[] {
  const outline = ModuleContext.outline();
  if (training.stage === "transformer") {
    return transformerOptimizers(new Transformer(outline, training.gpt));
  }
  const { params } = training.config.model;
  const { lossconfig } = params;
  if (lossconfig.target !== "tessera.losses.VQLPIPSWithDiscriminator") return [];
  const { discInChannels: inChannels, discNdf: ndf, discNumLayers: numLayers } = lossconfig.params;
  return tokenizerOptimizers({
    tokenizer: new Tokenizer(outline, params),
    discriminator: new NLayerDiscriminator(outline, { inChannels, ndf, numLayers }),
  });
}

/** Settings of each group, as the reference's optimizers have them. */
function settingsOf(
  training: WrittenTraining,
  learningRate: number,
): (group: number) => [string, TorchValue][] {
  const decoupled = training.stage === "transformer";
  return (group) => [
    ["lr", learningRate],
    ["eps", 1e-8],
    ["weight_decay", decoupled && group === 0 ? training.config.model.params.weightDecay : 0],
    ...["amsgrad", "maximize", "capturable", "differentiable"].map((key): [string, boolean] => [
      key,
      false,
    ]),
    ["foreach", null],
    ["fused", null],
    ["decoupled_weight_decay", decoupled],
  ];
}

function stateOf(
  file: TensorFile,
  { prefix, countsKey, groups, betas }: StageOptimizer,
  options: {
    readonly metadata: CheckpointMetadata;
    readonly settings: (group: number) => [string, TorchValue][];
  },
): TorchValue {
  const steps = readStepCounts(options.metadata, countsKey, file.name);
  const states = groups.flat().map((name, number): [number, TorchValue] => [
    number,
    new Map<string, TorchValue>([
      ["step", scalar(`${prefix}${name}.step`, steps[name] ?? 0)],
      ["exp_avg", stored(file, `${prefix}${name}.exp_avg`)],
      ["exp_avg_sq", stored(file, `${prefix}${name}.exp_avg_sq`)],
    ]),
  ]);
  let first = 0;
  const written = groups.map((names, group): TorchValue => {
    const numbers = names.map(() => first++);
    return new Map<string, TorchValue>([
      ...options.settings(group),
      ["betas", betas],
      ["params", numbers],
    ]);
  });
  return new Map<string, TorchValue>([["state", new Map(states)], ["param_groups", written]]);
}

function scalar(name: string, value: number): TensorSource {
  return { name, dtype: "F32", shape: [], data: Float32Array.of(value) };
}

function stored(file: TensorFile, name: string): TensorSource {
  const { dtype, shape } = file.entries.get(name)!;
  return { name, dtype, shape, data: () => file.bytes(name) };
}

/** Progress of Lightning's loops in the middle or at the start of an epoch. */
function fitLoop(
  { step, epoch, batchInEpoch }: { step: number; epoch: number; batchInEpoch: number },
): TorchValue {
  const counts = (keys: readonly string[], count: number): TorchValue =>
    new Map(keys.map((key) => [key, count]));
  const progress = (keys: readonly string[], total: number, current = total): TorchValue =>
    new Map([["total", counts(keys, total)], ["current", counts(keys, current)]]);
  const ofSteps = ["ready", "completed"];
  const ofBatches = [...ofSteps, "started", "processed"];
  const nothing: TorchValue = new Map();
  const batches = new Map<string, TorchValue>([
    ["total", counts(ofBatches, step)],
    ["current", counts(ofBatches, batchInEpoch)],
    ["is_last_batch", false],
  ]);
  const optimizer = new Map([
    ["step", progress(ofSteps, step)],
    ["zero_grad", progress([...ofSteps, "started"], step)],
  ]);
  const loop = "epoch_loop";
  return new Map<string, TorchValue>([
    ["state_dict", nothing],
    [`${loop}.state_dict`, new Map([["_batches_that_stepped", step]])],
    [`${loop}.batch_progress`, batches],
    [`${loop}.scheduler_progress`, progress(ofSteps, 0)],
    [`${loop}.automatic_optimization.state_dict`, nothing],
    [`${loop}.automatic_optimization.optim_progress`, new Map([["optimizer", optimizer]])],
    [`${loop}.manual_optimization.state_dict`, nothing],
    [`${loop}.manual_optimization.optim_step_progress`, progress(ofSteps, step)],
    [`${loop}.val_loop.state_dict`, nothing],
    ["epoch_progress", progress(ofBatches, epoch)],
  ]);
}

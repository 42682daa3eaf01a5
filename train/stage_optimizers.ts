/** The optimizers of both stages: their constants, their names in checkpoints, and their parameters as the reference groups them. @module */

import type { Module } from "../nn/module.ts";

/** Adam's decays of stage I, as the reference fixes them. */
export const TOKENIZER_BETAS = [0.5, 0.9] as const;

/** AdamW's decays of stage II, as the reference fixes them. */
export const TRANSFORMER_BETAS = [0.9, 0.95] as const;

/** What the names of the discriminator's parameters start with. */
export const DISCRIMINATOR = "loss.discriminator.";

/** What the names of the transformer's parameters start with. */
export const TRANSFORMER = "transformer.";

/** Names of an optimizer's state in a run's checkpoint. */
export interface OptimizerNames {
  /** What stands before the names of its moments. */
  readonly prefix: string;
  /** Key of its step counts in the header. */
  readonly countsKey: string;
}

/** Names of each optimizer's state. */
export const OPTIMIZER_NAMES = {
  generator: { prefix: "optimizer.generator.", countsKey: "generator_steps" },
  discriminator: { prefix: "optimizer.discriminator.", countsKey: "discriminator_steps" },
  transformer: { prefix: "optimizer.", countsKey: "optimizer_steps" },
} as const satisfies Record<string, OptimizerNames>;

/** An optimizer as a run's checkpoints and the reference's know it. */
export interface StageOptimizer extends OptimizerNames {
  /** Names of its parameters, by the reference's groups and in their order: PyTorch numbers them so. */
  readonly groups: readonly (readonly string[])[];
  /** Decays of its moments. */
  readonly betas: readonly [number, number];
}

/**
 * Lists the optimizers of stage I.
 *
 * @param models The models, or outlines of them.
 * @returns The generator's and the discriminator's.
 * @see SEED-Voken src/IBQ/models/ibqgan.py, `configure_optimizers`.
 */
export function tokenizerOptimizers(
  models: { readonly tokenizer: Module; readonly discriminator: Module },
): StageOptimizer[] {
  const betas = TOKENIZER_BETAS;
  const names = (module: Module, prefix?: string): string[] =>
    trainable(module, prefix).map(([name]) => name);
  return [
    { ...OPTIMIZER_NAMES.generator, groups: [names(models.tokenizer)], betas },
    {
      ...OPTIMIZER_NAMES.discriminator,
      groups: [names(models.discriminator, DISCRIMINATOR)],
      betas,
    },
  ];
}

/**
 * Lists the optimizers of stage II.
 *
 * @param transformer The model, or an outline of it.
 * @returns The only one: its matrices, then its vectors.
 * @see SEED-Voken src/IBQ/models/cond_transformer_llama.py, `configure_optimizers`.
 */
export function transformerOptimizers(transformer: Module): StageOptimizer[] {
  const parameters = trainable(transformer, TRANSFORMER);
  const ofAxes = (fits: (axes: number) => boolean): string[] =>
    parameters.filter(([, axes]) => fits(axes)).map(([name]) => name);
  return [{
    ...OPTIMIZER_NAMES.transformer,
    groups: [ofAxes((axes) => axes >= 2), ofAxes((axes) => axes < 2)],
    betas: TRANSFORMER_BETAS,
  }];
}

/** Names of the parameters that are trained, and how many axes each has. */
function trainable(module: Module, prefix = ""): [string, number][] {
  return [...module.namedParameters(prefix)]
    .filter(([, parameter]) => parameter.trainable)
    .map(([name, { shape }]) => [name, shape.length]);
}

/** Stacks of blocks: the levels of encoder and decoder and their middle, as lists of named stages. @module */

import { Module, type ModuleContext } from "../nn/module.ts";
import type { Tensor } from "../nn/tensor.ts";
import {
  AttentionBlock,
  Downsample,
  type ForwardOptions,
  ResnetBlock,
  Upsample,
} from "./blocks.ts";

/** One step of a stack: what runs, and where it is in the checkpoint. */
export interface Stage {
  /** Path below the stack, such as `down.0.block.1`. */
  readonly name: string;
  /** Runs the step. */
  readonly forward: (x: Tensor, options: ForwardOptions) => Tensor;
  /** Whether its values are computed again in the backward pass instead of being kept for it. */
  readonly checkpoint?: boolean;
}

/**
 * Runs stages one after the other. On a tape that does not record, each result is given back as soon as the next exists.
 *
 * @param stages The stages, each of which makes a new tensor.
 * @param x Input of the first.
 * @param options Whether dropout is active.
 * @returns Output of the last.
 */
export function runStages(
  stages: Iterable<Stage>,
  x: Tensor,
  options: ForwardOptions = {},
): Tensor {
  let h = x;
  for (const stage of stages) {
    const input = h;
    const run = (): Tensor => stage.forward(input, options);
    h = stage.checkpoint ? x.tape.checkpoint(run) : run();
    if (input !== x && !x.tape.recording) x.tape.release(input);
  }
  return h;
}

/** A stage of a module that has a forward pass. */
function stageOf(
  name: string,
  module: { forward: (x: Tensor, options: ForwardOptions) => Tensor },
): Stage {
  return { name, forward: (x, options) => module.forward(x, options) };
}

/** The residual blocks of one resolution, each followed by attention where the configuration says so. */
export class ResolutionLevel extends Module {
  readonly #stages: Stage[] = [];

  /**
   * Makes the blocks and the step to the next resolution.
   *
   * @param context Makes the parameters.
   * @param options Channels, number of blocks, whether attention follows, how the resolution changes afterwards.
   */
  constructor(
    context: ModuleContext,
    options: {
      inputs: number;
      outputs: number;
      blocks: number;
      attention: boolean;
      resample: "downsample" | "upsample" | "none";
      numGroups: number;
      dropout: number;
    },
  ) {
    super();
    const { outputs, resample, numGroups } = options;
    const attentions: AttentionBlock[] = [];
    for (let i = 0; i < options.blocks; i++) {
      const inputs = i === 0 ? options.inputs : outputs;
      const block = new ResnetBlock(context, { ...options, inputs });
      this.#stages.push(stageOf(`block.${i}`, this.register(`block.${i}`, block)));
      if (!options.attention) continue;
      const attention = new AttentionBlock(context, { channels: outputs, numGroups });
      attentions.push(attention);
      this.#stages.push(stageOf(`attn.${i}`, attention));
    }
    // Behind all blocks, as in the reference, whose optimizers number the parameters in this order.
    for (const [i, attention] of attentions.entries()) this.register(`attn.${i}`, attention);
    if (resample !== "none") {
      const step = resample === "downsample"
        ? new Downsample(context, outputs)
        : new Upsample(context, outputs);
      this.#stages.push(stageOf(resample, this.register(resample, step)));
    }
  }

  /** The steps in the order in which they run. */
  get stages(): readonly Stage[] {
    return this.#stages;
  }
}

/** The blocks at the lowest resolution: residual, attention, residual. */
export class MiddleBlocks extends Module {
  /** The steps in the order in which they run. */
  readonly stages: readonly Stage[];

  /**
   * Makes the three blocks.
   *
   * @param context Makes the parameters.
   * @param options Channels, and what the whole model shares.
   */
  constructor(
    context: ModuleContext,
    options: { channels: number; numGroups: number; dropout: number },
  ) {
    super();
    const sizes = { ...options, inputs: options.channels, outputs: options.channels };
    this.stages = [
      stageOf("block_1", this.register("block_1", new ResnetBlock(context, sizes))),
      stageOf("attn_1", this.register("attn_1", new AttentionBlock(context, options))),
      stageOf("block_2", this.register("block_2", new ResnetBlock(context, sizes))),
    ];
  }
}

/**
 * The steps of a part of a stack, under its name.
 *
 * @param name Path of the part.
 * @param part The part.
 * @param options `checkpoint`: whether each step computes its values again in the backward pass. Default false.
 * @returns Its stages with longer names.
 */
export function stagesOf(
  name: string,
  part: { readonly stages: readonly Stage[] },
  { checkpoint = false }: { checkpoint?: boolean } = {},
): Stage[] {
  return part.stages.map((stage) => ({ ...stage, name: `${name}.${stage.name}`, checkpoint }));
}

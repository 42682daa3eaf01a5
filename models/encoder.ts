/** The encoder of the tokenizer: images to a grid of features. @module */

import { Conv2d } from "../nn/conv2d.ts";
import { GroupNorm } from "../nn/group_norm.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import type { Tensor } from "../nn/tensor.ts";
import type { EncoderDecoderOptions, ForwardOptions } from "./blocks.ts";
import { MiddleBlocks, ResolutionLevel, runStages, type Stage, stagesOf } from "./stages.ts";

/**
 * Convolutional encoder: one level of residual blocks a resolution, halved between levels, then the middle blocks.
 *
 * @see SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `Encoder`.
 */
export class Encoder extends Module {
  /** The last normalization; a swish follows it. */
  readonly normOut: GroupNorm;
  /** The steps in the order in which they run. */
  readonly stages: readonly Stage[];

  /**
   * Makes all levels.
   *
   * @param context Makes the parameters.
   * @param options Sizes.
   */
  constructor(context: ModuleContext, options: EncoderDecoderOptions) {
    super();
    const { ch, chMult, numGroups, dropout, checkpointLevels = [] } = options;
    const convIn = this.register(
      "conv_in",
      new Conv2d(context, { inputs: options.inChannels, outputs: ch, kernel: 3, padding: 1 }),
    );
    const down: Stage[] = [];
    let channels = ch;
    let resolution = options.resolution;
    for (const [level, multiple] of chMult.entries()) {
      const last = level === chMult.length - 1;
      const name = `down.${level}`;
      const stack = this.register(
        name,
        new ResolutionLevel(context, {
          inputs: channels,
          outputs: ch * multiple,
          blocks: options.numResBlocks,
          attention: options.attnResolutions.includes(resolution),
          resample: last ? "none" : "downsample",
          numGroups,
          dropout,
        }),
      );
      down.push(...stagesOf(name, stack, { checkpoint: checkpointLevels.includes(level) }));
      channels = ch * multiple;
      if (!last) resolution = Math.floor(resolution / 2);
    }
    const mid = this.register("mid", new MiddleBlocks(context, { channels, numGroups, dropout }));
    this.normOut = this.register(
      "norm_out",
      new GroupNorm(context, { channels, groups: numGroups }),
    );
    const convOut = this.register(
      "conv_out",
      new Conv2d(context, { inputs: channels, outputs: options.zChannels, kernel: 3, padding: 1 }),
    );
    this.stages = [
      { name: "conv_in", forward: (x) => convIn.forward(x) },
      ...down,
      ...stagesOf("mid", mid),
      { name: "norm_out", forward: (x) => this.normOut.forward(x, { swish: true }) },
      { name: "conv_out", forward: (x) => convOut.forward(x) },
    ];
  }

  /**
   * Encodes images.
   *
   * @param x Images, shape (batch, height, width, channels), in [-1, 1]; height and width divisible by 2^(levels - 1).
   * @param options Whether dropout is active.
   * @returns Features, shape (batch, height / 2^(levels - 1), width / 2^(levels - 1), zChannels).
   */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    return runStages(this.stages, x, options);
  }
}

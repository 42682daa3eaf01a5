/** The decoder of the tokenizer: a grid of codes to images. @module */

import { Conv2d } from "../nn/conv2d.ts";
import { GroupNorm } from "../nn/group_norm.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import type { Tensor } from "../nn/tensor.ts";
import type { EncoderDecoderOptions, ForwardOptions } from "./blocks.ts";
import { MiddleBlocks, ResolutionLevel, runStages, type Stage, stagesOf } from "./stages.ts";

/**
 * Convolutional decoder: the middle blocks, then one level of residual blocks a resolution, doubled between levels.
 *
 * As in the reference, `up.0` is the highest resolution, although it runs last.
 *
 * @see SEED-Voken src/IBQ/modules/diffusionmodules/model.py, `Decoder`.
 */
export class Decoder extends Module {
  /** The last convolution; the adaptive weight of the adversarial loss compares gradients at its weight. */
  readonly convOut: Conv2d;
  /** The last normalization; a swish follows it. */
  readonly normOut: GroupNorm;
  /** The steps in the order in which they run. */
  readonly stages: readonly Stage[];

  /**
   * Makes all levels, the lowest resolution first.
   *
   * @param context Makes the parameters.
   * @param options Sizes.
   */
  constructor(context: ModuleContext, options: EncoderDecoderOptions) {
    super();
    const { ch, chMult, numGroups, dropout, checkpointLevels = [] } = options;
    const levels = chMult.length;
    let channels = ch * chMult[levels - 1]!;
    let resolution = Math.floor(options.resolution / 2 ** (levels - 1));
    const convIn = this.register(
      "conv_in",
      new Conv2d(context, { inputs: options.zChannels, outputs: channels, kernel: 3, padding: 1 }),
    );
    const mid = this.register("mid", new MiddleBlocks(context, { channels, numGroups, dropout }));
    const up: ResolutionLevel[] = [];
    for (let level = levels - 1; level >= 0; level--) {
      up.unshift(
        new ResolutionLevel(context, {
          inputs: channels,
          outputs: ch * chMult[level]!,
          blocks: options.numResBlocks + 1,
          attention: options.attnResolutions.includes(resolution),
          resample: level === 0 ? "none" : "upsample",
          numGroups,
          dropout,
        }),
      );
      channels = ch * chMult[level]!;
      resolution *= 2;
    }
    const steps = up.map((level, i) =>
      stagesOf(`up.${i}`, this.register(`up.${i}`, level), {
        checkpoint: checkpointLevels.includes(i),
      })
    );
    this.normOut = this.register(
      "norm_out",
      new GroupNorm(context, { channels, groups: numGroups }),
    );
    this.convOut = this.register(
      "conv_out",
      new Conv2d(context, { inputs: channels, outputs: options.outCh, kernel: 3, padding: 1 }),
    );
    this.stages = [
      { name: "conv_in", forward: (x) => convIn.forward(x) },
      ...stagesOf("mid", mid),
      ...steps.toReversed().flat(),
      { name: "norm_out", forward: (x) => this.normOut.forward(x, { swish: true }) },
      { name: "conv_out", forward: (x) => this.convOut.forward(x) },
    ];
  }

  /**
   * Decodes codes.
   *
   * @param z Codes after `post_quant_conv`, shape (batch, height, width, zChannels).
   * @param options Whether dropout is active.
   * @returns Reconstructions, shape (batch, height 2^(levels - 1), width 2^(levels - 1), outCh), not clamped.
   */
  forward(z: Tensor, options: ForwardOptions = {}): Tensor {
    return runStages(this.stages, z, options);
  }
}

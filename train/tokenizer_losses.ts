/** The two losses of stage I as the configuration weights them, with what the reference logs of them. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { Lecam } from "../models/lecam.ts";
import {
  adaptiveWeight,
  discriminatorLoss,
  nonSaturatingGeneratorLoss,
  reconstructionLoss,
} from "../models/losses.ts";
import { Lpips } from "../models/lpips.ts";
import type { TokenizerOutput } from "../models/tokenizer.ts";
import { add, mul, scale } from "../nn/math.ts";
import { ModuleContext } from "../nn/module.ts";
import { mean } from "../nn/reduce.ts";
import type { Parameter, Tensor } from "../nn/tensor.ts";
import type { Precision, TokenizerLossConfig } from "./config/mod.ts";

/** Weights of the losses, and whether the codebook loss has entropies. */
export interface TokenizerLossOptions extends TokenizerLossConfig {
  /** Whether the quantizer gives entropies. */
  readonly useEntropyLoss: boolean;
  /** Type of the perceptual network's features. Default f32. */
  readonly precision?: Precision;
}

/** The discriminator as the losses see it. */
export interface Opponent {
  /** What it says of images: logits (batch, height', width', 1). */
  readonly logits: (x: Tensor) => Tensor;
  /** Weight of the decoder's last convolution, where the adaptive weight compares gradients. */
  readonly lastLayer: Parameter;
  /** Multiplies the gradients there while they are compared, so that f16 holds them. Default 1. */
  readonly lossScale?: number;
}

/** A loss and scalars for the log, by the reference's names. */
export interface WeightedLoss {
  /** What is differentiated. */
  readonly loss: Tensor;
  /** Scalars of the same tape. */
  readonly metrics: Readonly<Record<string, Tensor>>;
}

/**
 * The losses of generator and discriminator.
 *
 * @see SEED-Voken src/IBQ/modules/losses/vqperceptual.py, `VQLPIPSWithDiscriminator`.
 */
export class TokenizerLosses implements Disposable {
  /** The frozen perceptual network; undefined where its weight is 0. */
  readonly perceptual: Lpips | undefined;
  readonly #lecam: Lecam | undefined;
  readonly #options: TokenizerLossOptions;

  /**
   * Makes the perceptual network with hashed weights and LeCAM's averages.
   *
   * @param gpu The device.
   * @param options Weights and sizes.
   */
  constructor(gpu: Gpu, options: TokenizerLossOptions) {
    this.#options = options;
    const { perceptualWeight, vggWidth, vggSeed, lecamLossWeight } = options;
    if (perceptualWeight > 0) {
      this.perceptual = new Lpips(gpu, { widths: vggWidth, salt: vggSeed });
    }
    if (lecamLossWeight !== null) this.#lecam = new Lecam(new ModuleContext(gpu, 0));
  }

  /**
   * The generator's loss: reconstruction, codebook, and what the discriminator says.
   *
   * @param images Images, the tokenizer's output, and the reconstructions to judge (clamped in validation).
   * @param opponent The discriminator.
   * @param step Steps done, which decide whether it takes part.
   * @returns The loss and its parts.
   */
  generator(
    images: { x: Tensor; output: TokenizerOutput; reconstruction: Tensor },
    opponent: Opponent,
    step: number,
  ): WeightedLoss {
    const { x, output, reconstruction } = images;
    const { perceptualWeight, precision = "f32" } = this.#options;
    const { nll, absolute, perceptual } = reconstructionLoss(x, reconstruction, {
      lpips: this.perceptual,
      perceptualWeight,
      precision,
    });
    const codebook = this.#codebookLoss(output);
    const factor = this.adversarialFactor(step);
    // Before it takes part its running statistics move all the same, as in the reference.
    const adversarial = nonSaturatingGeneratorLoss(opponent.logits(reconstruction));
    const weight = this.#adversarialWeight({ nll, adversarial }, opponent);
    const weighted = scale(mul(adversarial, weight), factor);
    const base = add(nll, codebook);
    // A factor of 0 leaves the adversarial loss out, so that its gradient is not computed only to be zero.
    const loss = factor === 0 ? base : add(base, weighted);
    const zero = scale(nll, 0);
    const { tape } = x;
    const metrics: Record<string, Tensor> = {
      "total_loss": loss,
      "nll_loss": nll,
      "reconstruct_loss": absolute,
      "perceptual_loss": perceptual ?? zero,
      "codebook_loss": codebook,
      "codebook_quant_loss": output.quantLoss,
      "d_weight": factor === 0 ? zero : weight,
      "g_loss": factor === 0 ? zero : weighted,
      "unscaled_g_loss": factor === 0 ? zero : scale(adversarial, factor),
      ...(output.entropyLoss && { "codebook_entropy_loss": output.entropyLoss }),
      ...(output.sampleEntropy && { "codebook_sample_entropy_loss": output.sampleEntropy }),
      ...(output.averageEntropy && { "codebook_avg_entropy_loss": output.averageEntropy }),
    };
    tape.retain(...Object.values(metrics));
    return { loss, metrics };
  }

  /**
   * The discriminator's loss; LeCAM's averages move with it.
   *
   * @param images Images and reconstructions, through which no gradient flows.
   * @param opponent The discriminator.
   * @param step Steps done, which decide whether it takes part.
   * @returns The loss and what the reference logs of it.
   */
  discriminator(
    images: { x: Tensor; reconstruction: Tensor },
    opponent: Opponent,
    step: number,
  ): WeightedLoss {
    const { discLoss, lecamLossWeight } = this.#options;
    const factor = this.adversarialFactor(step);
    const logits = {
      real: opponent.logits(images.x),
      fake: opponent.logits(images.reconstruction),
    };
    const lecam = this.#lecam && factor > 0
      ? { averages: this.#lecam, weight: lecamLossWeight ?? 0 }
      : undefined;
    const losses = discriminatorLoss(logits, { loss: discLoss, lecam });
    const loss = scale(losses.total, factor);
    const zero = scale(loss, 0);
    const metrics: Record<string, Tensor> = {
      "disc_loss": loss,
      "lecam_loss": losses.lecam ?? zero,
      "logits_real": factor === 0 ? zero : mean(logits.real),
      "logits_fake": factor === 0 ? zero : mean(logits.fake),
      "disc_factor": scale(loss, 0, factor),
    };
    images.x.tape.retain(...Object.values(metrics));
    return { loss, metrics };
  }

  /**
   * Tells how much the adversarial losses count.
   *
   * @param step Steps done.
   * @returns 0 before the discriminator takes part, its factor afterwards.
   */
  adversarialFactor(step: number): number {
    return step < this.#options.discStart ? 0 : this.#options.discFactor;
  }

  /**
   * Lists what a checkpoint has to hold beside the weights.
   *
   * @returns LeCAM's averages, which the reference forgets when it resumes.
   */
  *state(): Generator<[string, Parameter]> {
    if (this.#lecam) yield* this.#lecam.namedParameters("loss.lecam_ema.");
  }

  /** Gives every buffer back. */
  [Symbol.dispose](): void {
    this.perceptual?.[Symbol.dispose]();
    this.#lecam?.[Symbol.dispose]();
  }

  #codebookLoss({ quantLoss, entropyLoss }: TokenizerOutput): Tensor {
    const { useEntropyLoss, codebookWeight, quantLossWeight, entropyLossWeight } = this.#options;
    if (!useEntropyLoss || !entropyLoss) return scale(quantLoss, codebookWeight);
    return add(quantLoss, entropyLoss, { alpha: quantLossWeight, beta: entropyLossWeight });
  }

  #adversarialWeight(
    { nll, adversarial }: { nll: Tensor; adversarial: Tensor },
    { lastLayer, lossScale = 1 }: Opponent,
  ): Tensor {
    const { genLossWeight, discWeight } = this.#options;
    const { tape } = nll;
    if (genLossWeight !== null) return tape.constant(scale(nll, 0, genLossWeight));
    // In validation there are no gradients; the reference then weighs by 0.
    if (!tape.recording) return scale(nll, 0);
    const gradientOf = (loss: Tensor): Tensor =>
      tape.grad(loss, [lastLayer], { gradient: lossScale }).get(lastLayer)!;
    const [dNll, dAdversarial] = [gradientOf(nll), gradientOf(adversarial)];
    return adaptiveWeight(dNll, dAdversarial, { weight: discWeight, lossScale });
  }
}

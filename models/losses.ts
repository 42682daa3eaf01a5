/** The losses of stage I: reconstruction with LPIPS, and the adversarial ones. @module */

import { clamp, relu, softplus } from "../nn/activation.ts";
import { cast } from "../nn/cast.ts";
import { gradientNorm } from "../nn/gradient_norm.ts";
import { l1Loss } from "../nn/losses.ts";
import { add, reshape, scale } from "../nn/math.ts";
import { mean } from "../nn/reduce.ts";
import { standardize } from "../nn/standardize.ts";
import type { Tensor } from "../nn/tensor.ts";
import type { Lecam, Logits } from "./lecam.ts";
import type { Lpips } from "./lpips.ts";

/** What {@linkcode reconstructionLoss} gives; all scalars. */
export interface ReconstructionLosses {
  /** `absolute + perceptualWeight perceptual`. */
  nll: Tensor;
  /** Mean absolute difference of pixels, in units of [-1, 1]. */
  absolute: Tensor;
  /** Mean of the images' LPIPS; undefined where it is left out. */
  perceptual: Tensor | undefined;
}

/**
 * How far reconstructions are from images: `mean(|x - reconstruction|) + perceptualWeight mean(LPIPS)`.
 *
 * @param images Shape (batch, height, width, 3), in [-1, 1], f32; they and their features get no gradient.
 * @param reconstruction Same shape and type.
 * @param options LPIPS and its weight, default 1; without either only pixels count. `precision`: type of its features, default f32.
 * @returns The loss and its parts.
 * @see SEED-Voken src/IBQ/modules/losses/vqperceptual.py, `VQLPIPSWithDiscriminator.forward`.
 */
export function reconstructionLoss(
  images: Tensor,
  reconstruction: Tensor,
  options: { lpips?: Lpips | undefined; perceptualWeight?: number; precision?: "f32" | "f16" } = {},
): ReconstructionLosses {
  const { lpips, perceptualWeight = 1, precision = "f32" } = options;
  const absolute = l1Loss(images, reconstruction);
  if (!lpips || perceptualWeight === 0) {
    return { nll: absolute, absolute, perceptual: undefined };
  }
  const perceptual = mean(lpips.forward(cast(images, precision), cast(reconstruction, precision)));
  return { nll: add(absolute, perceptual, { beta: perceptualWeight }), absolute, perceptual };
}

/**
 * Hinge loss of the discriminator: `½ (mean relu(1 - real) + mean relu(1 + fake))`.
 *
 * @param logits What it said.
 * @returns A scalar.
 */
export function hingeLoss({ real, fake }: Logits): Tensor {
  return add(mean(relu(scale(real, -1, 1))), mean(relu(scale(fake, 1, 1))), {
    alpha: 0.5,
    beta: 0.5,
  });
}

/**
 * Logistic loss of the discriminator: `½ (mean softplus(-real) + mean softplus(fake))`.
 *
 * @param logits What it said.
 * @returns A scalar.
 */
export function vanillaLoss({ real, fake }: Logits): Tensor {
  return add(mean(softplus(scale(real, -1))), mean(softplus(fake)), { alpha: 0.5, beta: 0.5 });
}

/**
 * Non-saturating loss of the generator: sigmoid cross-entropy of each image's mean logit with the label 1, averaged.
 *
 * @param fake What the discriminator said of reconstructions, shape (batch, height, width, 1).
 * @returns A scalar.
 * @see Goodfellow et al. 2014, arXiv:1406.2661, section 3.
 */
export function nonSaturatingGeneratorLoss(fake: Tensor): Tensor {
  return mean(softplus(scale(mean(fake, { axes: [1, 2, 3] }), -1)));
}

/**
 * Non-saturating loss of the discriminator: sigmoid cross-entropies of the images' mean logits with 1 and of the reconstructions' with 0.
 *
 * @param logits What it said.
 * @returns A scalar.
 */
export function nonSaturatingDiscriminatorLoss({ real, fake }: Logits): Tensor {
  const axes = [1, 2, 3];
  return add(
    mean(softplus(scale(mean(real, { axes }), -1))),
    mean(softplus(mean(fake, { axes }))),
  );
}

/** The discriminator's losses by their names in configurations. */
const DISCRIMINATOR_LOSSES = { hinge: hingeLoss, vanilla: vanillaLoss };

/** What {@linkcode discriminatorLoss} gives; all scalars. */
export interface DiscriminatorLosses {
  /** `adversarial + lecamWeight lecam`. */
  total: Tensor;
  /** Hinge or logistic loss. */
  adversarial: Tensor;
  /** LeCAM's regularization; undefined where it is left out. */
  lecam: Tensor | undefined;
}

/**
 * The discriminator's loss with LeCAM, whose averages it updates first.
 *
 * @param logits What it said.
 * @param options `loss`: hinge (default) or vanilla; LeCAM's averages and weight, without which it is left out.
 * @returns The loss and its parts.
 * @see SEED-Voken src/IBQ/modules/losses/vqperceptual.py, `VQLPIPSWithDiscriminator.forward`.
 */
export function discriminatorLoss(
  logits: Logits,
  options: {
    loss?: "hinge" | "vanilla";
    lecam?: { averages: Lecam; weight: number } | undefined;
  } = {},
): DiscriminatorLosses {
  const { loss = "hinge" } = options;
  const adversarial = DISCRIMINATOR_LOSSES[loss](logits);
  if (!options.lecam) return { total: adversarial, adversarial, lecam: undefined };
  const { averages, weight } = options.lecam;
  averages.update(logits);
  const lecam = averages.regularization(logits);
  return { total: add(adversarial, lecam, { beta: weight }), adversarial, lecam };
}

/**
 * The adaptive weight of the adversarial loss: `weight · clamp(‖dNll‖ / (‖dAdversarial‖ + 1e-4), 0, 1e4)`.
 *
 * @param dNll Gradient of the reconstruction loss by the decoder's last weight.
 * @param dAdversarial Gradient of the generator's adversarial loss by the same weight.
 * @param options `weight`, default 1; `lossScale`: what both gradients were multiplied by, default 1.
 * @returns A scalar that stays on the GPU, without gradient; NaN if a gradient is not finite.
 * @see Esser et al. 2021, arXiv:2012.09841, eq. 7; SEED-Voken src/IBQ/modules/losses/vqperceptual.py, `calculate_adaptive_weight`.
 */
export function adaptiveWeight(
  dNll: Tensor,
  dAdversarial: Tensor,
  options: { weight?: number; lossScale?: number } = {},
): Tensor {
  const { weight = 1, lossScale = 1 } = options;
  const nll = reshape(gradientNorm([dNll]), [1]);
  const adversarial = reshape(gradientNorm([dAdversarial]), [1]);
  // Division by a vector of one element.
  const ratio = standardize(scale(nll, 1 / lossScale), {
    shift: scale(nll, 0),
    scale: scale(adversarial, 1 / lossScale, 1e-4),
  });
  const limited = scale(clamp(ratio, { minimum: 0, maximum: 1e4 }), weight);
  // 0, or NaN where a norm is infinite: the limits hide that an f16 gradient has overflowed.
  const overflow = add(nll, adversarial, { alpha: 0, beta: 0 });
  return reshape(add(limited, overflow), []);
}

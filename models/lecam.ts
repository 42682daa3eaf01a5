/** LeCAM: regularization of the discriminator by running averages of its logits. @module */

import { averageStep } from "../kernels/optim.ts";
import { relu, square } from "../nn/activation.ts";
import { addVector } from "../nn/broadcast.ts";
import { add, detach, scale } from "../nn/math.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import { mean } from "../nn/reduce.ts";
import type { Parameter, Tensor } from "../nn/tensor.ts";

/** What the discriminator said of real images and of reconstructions; two tensors of equal shape (batch, height, width, 1). */
export interface Logits {
  /** Of real images. */
  real: Tensor;
  /** Of reconstructions. */
  fake: Tensor;
}

/** Options of {@linkcode Lecam}. */
export interface LecamOptions {
  /** Share of an average that an update keeps, default 0.999. */
  decay?: number;
  /** What both averages start with, default 0. */
  initial?: number;
}

/**
 * Running averages of the mean logits, which stay on the GPU, and the regularization by them.
 *
 * @see Tseng et al. 2021, arXiv:2104.03310, eq. 6; SEED-Voken src/IBQ/modules/losses/vqperceptual.py, `LeCAM_EMA`, `lecam_reg`.
 */
export class Lecam extends Module {
  /** Average of the mean logit of real images, a scalar; part of checkpoints, not trained. */
  readonly real: Parameter;
  /** Average of the mean logit of reconstructions, a scalar; part of checkpoints, not trained. */
  readonly fake: Parameter;
  readonly #decay: number;

  /**
   * Makes the two averages.
   *
   * @param context Makes the averages.
   * @param options Decay and start.
   * @throws {RangeError} If the decay is outside [0, 1].
   */
  constructor(context: ModuleContext, options: LecamOptions = {}) {
    super();
    const { decay = 0.999, initial = 0 } = options;
    if (!(decay >= 0 && decay <= 1)) {
      throw new RangeError(`Cannot average logits: expected a decay in [0, 1], found ${decay}`);
    }
    this.#decay = decay;
    const average = (): Parameter =>
      context.parameter([], { kind: "constant", value: initial }, { trainable: false });
    this.real = this.register("logits_real_ema", average());
    this.fake = this.register("logits_fake_ema", average());
  }

  /**
   * Moves the averages towards the means of new logits.
   *
   * @param logits What the discriminator said; no gradient flows here.
   */
  update(logits: Logits): void {
    const oneMinusDecay = 1 - this.#decay;
    for (const kind of ["real", "fake"] as const) {
      const x = mean(detach(logits[kind]));
      averageStep(x.tape.gpu, { average: this[kind].storage, x: x.storage, oneMinusDecay });
    }
  }

  /**
   * The regularization: `mean(relu(real - averageFake)²) + mean(relu(averageReal - fake)²)`, the averages as constants.
   *
   * @param logits What the discriminator said.
   * @returns A scalar.
   */
  regularization({ real, fake }: Logits): Tensor {
    const above = scale(addVector(scale(real, -1), this.fake), -1);
    const below = addVector(scale(fake, -1), this.real);
    return add(mean(square(relu(above))), mean(square(relu(below))));
  }
}

/** The last norm of the transformer, modulated by the condition. @module */

import type { Linear } from "../nn/linear.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import { RmsNorm } from "../nn/row_norm.ts";
import { split } from "../nn/shape.ts";
import type { NormedRows } from "../nn/linear_fused.ts";
import type { Tensor } from "../nn/tensor.ts";
import { conditionMap, INITIAL_MODULATION, scaleRows } from "./transformer_block.ts";
import type { TransformerConfig } from "./transformer_options.ts";

/** Scale, less 1, and shift before the last projection; each (batch, nEmbd). */
export interface HeadModulation {
  /** Scale, less 1. */
  scale: Tensor;
  /** Shift. */
  shift: Tensor;
}

/** RMS norm modulated by the condition, before the projection to logits: `rmsnorm`, `ada_lin.1`. */
export class ModulatedNorm extends Module {
  readonly #norm: RmsNorm;
  readonly #map: Linear;

  /**
   * Makes norm and map.
   *
   * @param context Makes the parameters.
   * @param config Sizes.
   */
  constructor(context: ModuleContext, config: TransformerConfig) {
    super();
    const { nEmbd } = config;
    // The reference leaves the norm's default eps here.
    this.#norm = this.register("rmsnorm", new RmsNorm(context, { width: nEmbd, eps: 1e-5 }));
    this.#map = this.register("ada_lin.1", conditionMap(context, { width: nEmbd, vectors: 2 }));
    scaleRows(context, this.#map.weight, [INITIAL_MODULATION]);
  }

  /**
   * Computes what a condition does.
   *
   * @param condition silu of the class embedding, (batch, nEmbd).
   * @returns Scale and shift.
   */
  modulation(condition: Tensor): HeadModulation {
    const width = condition.shape[1]!;
    const [scale, shift] = split(this.#map.forward(condition), [width, width]);
    return { scale, shift };
  }

  /**
   * Normalizes and modulates.
   *
   * @param x (batch, tokens, nEmbd).
   * @param modulation What the condition does.
   * @returns Same shape.
   */
  forward(x: Tensor, modulation: HeadModulation): Tensor {
    return this.#norm.modulated(x, modulation);
  }

  /**
   * Leaves norm and modulation to the map that comes next.
   *
   * @param rows (batch, tokens, nEmbd).
   * @param modulation What the condition does.
   * @returns What {@linkcode Transformer.project} takes.
   */
  before(rows: Tensor, modulation: HeadModulation): NormedRows {
    return { rows, norm: this.#norm, modulation };
  }
}

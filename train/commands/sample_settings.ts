/** How images are sampled: the published settings, and the names of folders that tell them. @module */

/** Settings that the published numbers were measured with. */
export interface SamplePreset {
  /** Images of each class. */
  readonly perClass: number;
  /** Divides the logits. */
  readonly temperature: number;
  /** Choose among so many tokens; 0 for all. */
  readonly topK: number;
  /** Choose among the likeliest tokens of this total probability. */
  readonly topP: number;
  /** Classifier-free guidance. */
  readonly guidance: number;
}

/**
 * The settings of the published table by the model's size, and those of the pictures shown beside it.
 *
 * @see SEED-Voken scripts/evaluation/sample_gpu.sh, scripts/inference/generate.sh
 */
export const SAMPLE_PRESETS: ReadonlyMap<string, SamplePreset> = new Map([
  ["B", { perClass: 50, temperature: 1.1, topK: 0, topP: 1, guidance: 2.25 }],
  ["L", { perClass: 50, temperature: 1, topK: 0, topP: 1, guidance: 2 }],
  ["XL", { perClass: 50, temperature: 1.15, topK: 0, topP: 1, guidance: 2.35 }],
  ["XXL", { perClass: 50, temperature: 1.2, topK: 0, topP: 1, guidance: 2.85 }],
  ["showcase", { perClass: 8, temperature: 1, topK: 0, topP: 0.96, guidance: 4 }],
]);

/**
 * Names the folder of samples as the reference does, so that its other programs find them.
 *
 * @param settings How they are drawn.
 * @returns Such as `top_k_0_temp_1.10_top_p_1.0_cfg_2.25`.
 * @see SEED-Voken sample.py
 */
export function settingsFolder(settings: Omit<SamplePreset, "perClass">): string {
  const { topK, temperature, topP, guidance } = settings;
  return `top_k_${topK}_temp_${temperature.toFixed(2)}_top_p_${pythonFloat(topP)}_cfg_${
    pythonFloat(guidance)
  }`;
}

/** A number as Python writes it. */
function pythonFloat(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** The products of the models of configurations: one training step of each stage is recorded, on a device without memory. @module */

import { Gpu } from "../../kernels/gpu.ts";
import type { ProductRequest } from "../../kernels/tile_table.ts";
import { batchSizeOf, type LoadedConfig, type TokenizerConfig } from "../../train/config/mod.ts";
import { openTrainingStep, stepRunOf } from "../../train/training_step.ts";

/**
 * Records a training step of each configuration on a device without memory and lists the products in it.
 *
 * @param gpu The device.
 * @param configs Configurations, a tokenizer's before the transformer's that uses it.
 * @returns The first product of each class.
 */
export async function collectRequests(
  gpu: Gpu,
  configs: readonly LoadedConfig[],
): Promise<ProductRequest[]> {
  let tokenizer: TokenizerConfig | null = null;
  using dry = Gpu.dry(gpu);
  for (const loaded of configs) {
    const run = stepRunOf(loaded, tokenizer);
    if (run.stage === "tokenizer") tokenizer = run.config.model.params;
    using step = openTrainingStep(dry, run, batchSizeOf(run.config));
    await step.run(0);
  }
  return [...gpu.tiles.requests.values()];
}

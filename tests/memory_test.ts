/** Training holds the same bytes of the GPU at every step. @module */

import { assertEquals } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { countingSignal, runTest, trainStage } from "./tiny_run.ts";

/** Pictures and checkpoints would take buffers of their own in between, once. */
const RARELY = ["trainer.image_every_n_steps=1000", "trainer.save_every_n_steps=1000"];

/** Trains until step 220 and compares live bytes and created buffers with those after step 20. */
async function assertSteady(
  gpu: Gpu,
  config: string,
  options: { readonly run: string; readonly overrides: readonly string[] },
): Promise<void> {
  const counts = new Map<number, { liveBytes: number; createdBuffers: number }>();
  const signal = countingSignal((steps) => {
    const { liveBytes, createdBuffers } = gpu.stats();
    if (steps === 20 || steps === 220) counts.set(steps, { liveBytes, createdBuffers });
    return steps === 220;
  });
  await trainStage(gpu, config, {
    run: options.run,
    signal,
    overrides: ["trainer.max_steps=1000", ...RARELY, ...options.overrides],
  });
  assertEquals(counts.size, 2);
  assertEquals(counts.get(220), counts.get(20));
}

runTest("both stages hold the same bytes after steps 20 and 220", async (gpu, workspace) => {
  const { runs, tokenizerConfig, transformerConfig } = workspace;
  const run = `${runs}/steady`;
  await assertSteady(gpu, tokenizerConfig, {
    run,
    overrides: ["model.lossconfig.gen_loss_weight=null", "trainer.val_every_n_steps=15"],
  });
  await assertSteady(gpu, transformerConfig, {
    run,
    overrides: ["model.transformer_config.n_layer=1", "trainer.val_every_n_steps=15"],
  });
});

/** A run that was stopped and resumed equals one that was never interrupted, bit for bit. @module */

import { assert, assertEquals } from "@std/assert";
import { countingSignal, readCheckpoint, readLog, runTest, trainStage } from "./tiny_run.ts";
import type { Gpu } from "../kernels/gpu.ts";

/** Trains a stage without and with interruption, and compares everything that is left. */
async function assertResumes(
  gpu: Gpu,
  options: {
    readonly config: string;
    readonly stage: "tokenizer" | "transformer";
    readonly runs: readonly [string, string];
    readonly overrides: readonly string[];
  },
): Promise<void> {
  const { config, stage, runs: [whole, parted], overrides } = options;
  assert(await trainStage(gpu, config, { run: whole, overrides }));
  // Three steps are in the middle of an epoch of five batches.
  const signal = countingSignal((steps) => steps === 3);
  assertEquals(await trainStage(gpu, config, { run: parted, overrides, signal }), false);
  const said: string[] = [];
  const writeLine = (line: string): void => void said.push(line);
  assert(await trainStage(gpu, config, { run: parted, overrides, writeLine }));
  assert(said.some((line) => /resumed .*step-00000003/.test(line)), said.join("\n"));

  const last = `${stage}/checkpoints/step-00000005.safetensors`;
  const expected = await readCheckpoint(`${whole}/${last}`);
  const found = await readCheckpoint(`${parted}/${last}`);
  assertEquals(Object.keys(found.tensors), Object.keys(expected.tensors));
  const different = Object.keys(expected.tensors).filter((name) =>
    found.tensors[name] !== expected.tensors[name]
  );
  assertEquals(different, []);
  assertEquals(found.metadata, expected.metadata);
  assertEquals(await readLog(`${parted}/${stage}`), await readLog(`${whole}/${stage}`));
}

for (
  const setting of [
    "accumulate_grad_batches=1",
    "accumulate_grad_batches=2",
    "precision=f16",
  ]
) {
  const overrides = [`trainer.${setting}`];
  runTest(
    `training with ${setting}, stopped and resumed, ends with the same bits`,
    async (gpu, { runs, tokenizerConfig, transformerConfig }) => {
      const pair = [`${runs}/whole`, `${runs}/parted`] as const;
      const shared = { runs: pair, overrides };
      await assertResumes(gpu, { config: tokenizerConfig, stage: "tokenizer", ...shared });
      await assertResumes(gpu, { config: transformerConfig, stage: "transformer", ...shared });
    },
  );
}

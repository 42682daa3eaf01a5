/** A run that was stopped and resumed equals one that was never interrupted, bit for bit. @module */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
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

runTest(
  "stage II with token_views=random draws crops anew, and resumes with the same bits",
  async (gpu, { runs, tokenizerConfig, transformerConfig }) => {
    const pair = [`${runs}/whole`, `${runs}/parted`] as const;
    for (const run of pair) {
      await trainStage(gpu, tokenizerConfig, { run, overrides: ["trainer.max_steps=1"] });
    }
    const overrides = [
      ...["data.token_views=random", "data.train.random_crop=true"],
      ...["data.train.horizontal_flip=true", "trainer.accumulate_grad_batches=2"],
    ];
    const shared = { config: transformerConfig, stage: "transformer", runs: pair } as const;
    await assertResumes(gpu, { ...shared, overrides });
    const lossOf = async (run: string): Promise<unknown> =>
      (await readLog(`${run}/transformer`)).filter((line) => "loss" in line).at(-1)!.loss;
    // Only the held-out images are kept as tokens.
    const folders = await Array.fromAsync(Deno.readDir(`${pair[0]}/transformer/tokens`));
    assertEquals(folders.length, 1);
    const run = `${runs}/cached`;
    await trainStage(gpu, tokenizerConfig, { run, overrides: ["trainer.max_steps=1"] });
    const cached = [...overrides, "data.token_views=one"];
    assert(await trainStage(gpu, transformerConfig, { run, overrides: cached }));
    assertNotEquals(await lossOf(run), await lossOf(pair[0]));
  },
);

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

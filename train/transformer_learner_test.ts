/** Tests of a step of stage II: micro-batches, and steps that are not finite. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { hashedPermutation } from "../models/hash.ts";
import { assertClose, type Tolerance } from "../tests/close.ts";
import { gpuTest } from "../tests/op_case.ts";
import { readEntries } from "../tests/tiny_run.ts";
import type { TokenSplit } from "./tokens.ts";
import { AnomalyError } from "./loop.ts";
import { TransformerLearner } from "./transformer_learner.ts";

/** Sums over four and over two images differ in their order. */
const MICRO_BATCHES: Tolerance = { relative: 1e-4, absolute: 1e-6 };

const OPTIONS = {
  seed: 1,
  model: {
    vocabSize: 16,
    blockSize: 16,
    nLayer: 1,
    nHead: 2,
    nEmbd: 16,
    classNum: 2,
    multipleOf: 16,
    ffnDropoutP: 0,
    tokenDrop: 0,
  },
};

const SETTINGS = { step: 0, learningRate: 1e-2, weightDecay: 0, clip: null };

/** Images without class, as the classes of others are dropped at random. */
function images(first: number, count: number): TokenSplit {
  const numbers = Array.from({ length: count }, (_, i) => first + i);
  return {
    tokens: Uint32Array.from(numbers.flatMap((number) => [...hashedPermutation(16, number)])),
    labels: new Uint32Array(count).fill(OPTIONS.model.classNum),
  };
}

function readAll(learner: TransformerLearner): Promise<Record<string, Float32Array>> {
  return readEntries(learner.entries());
}

gpuTest(
  "TransformerLearner.step() gives the same for four images and for two and two",
  async (gpu) => {
    using once = new TransformerLearner(gpu, OPTIONS);
    using twice = new TransformerLearner(gpu, OPTIONS);
    // The head starts at zero and stops all gradients but its own: only from the second step on do others exist.
    for (const step of [0, 1]) {
      const settings = { ...SETTINGS, step };
      const whole = await once.step([images(0, 4)], settings);
      const parts = await twice.step([images(0, 2), images(2, 2)], settings);
      assertClose([parts.loss!], [whole.loss!], MICRO_BATCHES, "loss");
      assertClose([parts.gradient_norm!], [whole.gradient_norm!], MICRO_BATCHES, "gradient norm");
    }
    const expected = await readAll(once);
    const found = await readAll(twice);
    assertEquals(Object.keys(found), Object.keys(expected));
    for (const name of Object.keys(expected).filter((name) => name.endsWith("exp_avg"))) {
      assertClose(found[name]!, expected[name]!, MICRO_BATCHES, name);
    }
    assert(
      found["optimizer.transformer.blocks.0.attention.wqkv.weight.exp_avg"]!.some((v) => v !== 0),
    );
  },
);

gpuTest(
  "TransformerLearner.step() that is not finite changes nothing, and its op is found",
  async (gpu) => {
    using learner = new TransformerLearner(gpu, OPTIONS);
    await learner.step([images(0, 2)], SETTINGS);
    const parameters = new Map(learner.transformer.namedParameters());
    const norm = parameters.get("blocks.0.ffn_norm.weight")!;
    norm.write(new Float32Array(norm.size).fill(NaN));
    const before = await readAll(learner);
    const batches = [images(2, 2)];
    const metrics = await learner.step(batches, { ...SETTINGS, step: 1 });
    assertEquals([metrics.loss, metrics.gradient_norm].map((value) => Number.isFinite(value)), [
      false,
      false,
    ]);
    assertEquals(await readAll(learner), before);
    assertEquals(
      await learner.locateNonFinite(batches, { ...SETTINGS, step: 1 }),
      "modulatedRmsNorm",
    );
  },
);

gpuTest("TransformerLearner.step() with detectAnomaly fails with the op", async (gpu) => {
  using learner = new TransformerLearner(gpu, { ...OPTIONS, detectAnomaly: true });
  await learner.step([images(0, 2)], SETTINGS);
  const parameters = new Map(learner.transformer.namedParameters());
  const norm = parameters.get("blocks.0.ffn_norm.weight")!;
  norm.write(new Float32Array(norm.size).fill(NaN));
  for (const batches of [[images(2, 2)], [images(0, 2), images(2, 2)]]) {
    const error = await assertRejects(
      () => learner.step(batches, { ...SETTINGS, step: 1 }),
      AnomalyError,
    );
    assertEquals(error.operation, "modulatedRmsNorm");
  }
});

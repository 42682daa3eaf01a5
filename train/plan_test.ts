/** Tests of plans: they say what the real step takes, find batches and settings that fit, and estimate times. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { gpuTest } from "../tests/op_case.ts";
import { TINY_TOKENIZER, TINY_TRANSFORMER } from "../tests/tiny_run.ts";
import { estimateTime } from "./calibrate.ts";
import { parseConfig, resolveConfig } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { findRemedy, largestBatch, limitsOf, planStep, resolveBatchSize } from "./plan.ts";
import { openTrainingStep, type StepRun, stepRunOf } from "./training_step.ts";

function load(text: string, ...overrides: string[]): ReturnType<typeof resolveConfig> {
  return resolveConfig(parseConfig(text, "tiny.yaml"), { overrides });
}

const tokenizer = (...overrides: string[]): StepRun =>
  stepRunOf(load(TINY_TOKENIZER, ...overrides));

function transformer(...overrides: string[]): StepRun {
  const { config } = load(TINY_TOKENIZER);
  if (config.model.target !== "tessera.models.IBQ") throw new TypeError("tokenizer");
  return stepRunOf(load(TINY_TRANSFORMER, ...overrides), config.model.params);
}

const LEVELS = "model.ddconfig.checkpoint_levels=[0,1]";
const BLOCKS = "model.transformer_config.checkpoint_blocks=2";
const ADAPTIVE = "model.lossconfig.gen_loss_weight=null";
const TWO_BATCHES = "trainer.accumulate_grad_batches=2";

/** Every way in which a step takes its memory. */
const RUNS: Readonly<Record<string, StepRun>> = {
  "stage I": tokenizer(),
  "stage I, two batches, adaptive weight, checkpoints": tokenizer(TWO_BATCHES, ADAPTIVE, LEVELS),
  "stage II": transformer(),
  "stage II, two batches, checkpoints": transformer(TWO_BATCHES, BLOCKS),
};

/** The first step makes the buffers, the second binds them as all later ones do. */
const NEW_STEPS = 2;

gpuTest("a step that repeats another one makes no buffers and no bind groups", async (gpu) => {
  for (const [name, run] of Object.entries(RUNS)) {
    using dry = Gpu.dry(gpu);
    using step = openTrainingStep(dry, run, 3);
    for (let number = 0; number < NEW_STEPS; number++) await step.run(number);
    const { createdBuffers, bindGroups } = dry.stats();
    for (let number = NEW_STEPS; number < NEW_STEPS + 3; number++) await step.run(number);
    const after = dry.stats();
    assertEquals([after.createdBuffers, after.bindGroups], [createdBuffers, bindGroups], name);
  }
});

gpuTest("planStep() says what the real step takes, byte for byte", async (gpu) => {
  for (const [name, run] of Object.entries(RUNS)) {
    gpu.trim();
    const { createdBuffers, dispatches: before } = gpu.stats();
    const plan = await planStep(gpu, run, 3);
    assertEquals(gpu.stats().createdBuffers, createdBuffers, "a plan takes nothing");
    using step = openTrainingStep(gpu, run, 3);
    gpu.restartPeaks();
    for (let number = 0; number < 2; number++) await step.run(number);
    const { peakBytes, peakLiveBytes, largestBufferBytes, dispatches } = gpu.stats();
    assertEquals(
      [plan.peakBytes, plan.neededBytes, plan.largestBufferBytes],
      [peakBytes, peakLiveBytes, largestBufferBytes],
      name,
    );
    assertEquals(plan.uses, gpu.memoryUses, name);
    assert(dispatches - before > plan.dispatches.length);
    const { atPeak } = plan.uses;
    assertEquals(Object.values(atPeak).reduce((sum, bytes) => sum + bytes), plan.neededBytes);
  }
});

gpuTest("planStep() counts parameters and bytes by module", async (gpu) => {
  const { modules, uses } = await planStep(gpu, tokenizer(), 1);
  assertEquals([...modules.keys()], [
    ..."encoder decoder quantize quant_conv post_quant_conv discriminator".split(" "),
    "perceptual network (frozen)",
  ]);
  assertEquals(modules.get("quantize"), { count: 64, bytes: 256 });
  assertEquals(modules.get("quant_conv"), { count: 4 * 4 + 4, bytes: 80 });
  const bytes = [...modules.values()].reduce((sum, module) => sum + module.bytes, 0);
  // Buffers are rounded up, and those of the optimizer briefly lie beside the first ones.
  assert(uses.most.weights >= bytes && uses.most.averages > 0 && uses.most.optimizer > 0);
});

gpuTest("checkpoints hold fewer activations and run the forward pass again", async (gpu) => {
  const wide = ["model.ddconfig.ch=32", "model.ddconfig.num_res_blocks=3"];
  const all = await planStep(gpu, tokenizer(...wide), 4);
  const some = await planStep(gpu, tokenizer(...wide, "model.ddconfig.checkpoint_levels=[0]"), 4);
  assert(some.uses.most.activations < 0.7 * all.uses.most.activations);
  assert(some.dispatches.length > all.dispatches.length);
});

gpuTest("checkpoints change no bit of two training steps, dropout included", async (gpu) => {
  const results = async (run: StepRun): Promise<unknown> => {
    using step = openTrainingStep(gpu, run, 2);
    const metrics = [await step.run(0), await step.run(1)];
    const weights = [...step.modules.values()].flat();
    const bytes = await gpu.read(weights.map(({ storage }) => storage));
    return [metrics, bytes.map((part) => new Uint8Array(part).toHex())];
  };
  assertEquals(await results(tokenizer(LEVELS, ADAPTIVE)), await results(tokenizer(ADAPTIVE)));
  assertEquals(await results(transformer(BLOCKS)), await results(transformer()));
});

gpuTest("largestBatch() finds the most images that fit", async (gpu) => {
  const run = transformer();
  const needed = async (batch: number) => (await planStep(gpu, run, batch)).neededBytes;
  for (const expected of [1, 5, 8]) {
    const limits = limitsOf(gpu, await needed(expected + 1) - 1);
    assertEquals(await largestBatch(gpu, run, { limits }), expected);
    assertEquals(await largestBatch(gpu, run, { limits, most: 3 }), Math.min(expected, 3));
  }
  assertEquals(await largestBatch(gpu, run, { limits: limitsOf(gpu, 1000) }), 0);
  const tight = { ...limitsOf(gpu, Infinity), bufferBytes: 1000 };
  assertEquals(await largestBatch(gpu, run, { limits: tight }), 0);
});

gpuTest("resolveBatchSize() takes auto as the most that fits beside what lives", async (gpu) => {
  const run = transformer("data.batch_size=auto");
  const { neededBytes } = await planStep(gpu, run, 6);
  const totalBytes = neededBytes + gpu.stats().liveBytes;
  assertEquals(await resolveBatchSize(gpu, run, { totalBytes, images: 100 }), 6);
  assertEquals(await resolveBatchSize(gpu, run, { totalBytes, images: 4 }), 4);
  assertEquals(await resolveBatchSize(gpu, transformer(), { totalBytes: 0, images: 9 }), 2);
  await assertRejects(
    () => resolveBatchSize(gpu, run, { totalBytes: 0, images: 100 }),
    UserError,
    "Cannot choose a batch size for tiny.yaml: expected",
  );
});

gpuTest("findRemedy() finds settings that fit, those that change least first", async (gpu) => {
  const run = tokenizer();
  const batchSize = 4;
  const { neededBytes } = await planStep(gpu, run, batchSize);
  const find = (share: number) =>
    findRemedy(gpu, run, { batchSize, limits: limitsOf(gpu, Math.floor(share * neededBytes)) });
  assertEquals((await find(0.95))?.overrides, ["model.init_args.ddconfig.checkpoint_levels=[0]"]);
  const found = await find(0.6);
  const accumulate = "trainer.accumulate_grad_batches=4";
  assertEquals(found?.overrides, ["data.init_args.batch_size=1", accumulate]);
  const plan = await planStep(gpu, tokenizer(accumulate), found!.batchSize);
  assert(plan.neededBytes <= 0.6 * neededBytes);
  assertEquals(await find(0.01), undefined);
});

gpuTest("estimateTime() measures what counts most", async (gpu) => {
  if (!gpu.features.has("timestamp-query")) return;
  const plan = await planStep(gpu, tokenizer(), 2);
  const { seconds, measuredShare } = await estimateTime(gpu, plan, { budgetMs: 2 });
  assert(seconds > 0 && Number.isFinite(seconds), `${seconds}`);
  assert(measuredShare > 0 && measuredShare <= 1, `${measuredShare}`);
});

gpuTest("estimateTime() measures products whose inputs are in textures", async (gpu) => {
  if (!gpu.features.has("timestamp-query")) return;
  using textured = await Gpu.open({ leastTexelBytes: 0 });
  const { dispatches, copiedBytes } = await planStep(textured, tokenizer(), 2);
  const products = dispatches.filter(({ work, buffers }) =>
    work?.operations !== undefined && Object.values(buffers).some(({ texture }) => texture)
  );
  assert(products.length > 0, "no product reads a texture");
  assert(copiedBytes > 0, "nothing is copied into a texture");
  const estimate = (bytes: number) =>
    estimateTime(textured, { dispatches: products.slice(0, 3), copiedBytes: bytes });
  const { seconds, measuredShare } = await estimate(0);
  assertEquals(measuredShare, 1);
  assert((await estimate(2 ** 40)).seconds > 2 * seconds, "copies take no time");
});

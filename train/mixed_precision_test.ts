/** Tests of both stages with activations stored as f16: gradients, overflow, growth, adapters without f16. @module */

import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { assertClose, type Tolerance } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { readEntries, runTest, TINY_TOKENIZER, trainStage } from "../tests/tiny_run.ts";
import { asTokenizer, parseConfig, type Precision, resolveConfig } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { type ImageBatch, TokenizerLearner } from "./tokenizer_learner.ts";
import { TransformerLearner } from "./transformer_learner.ts";

/** Losses are means of values that were rounded to 11 bits at every layer, so that most of the rounding averages out. */
const LOSS: Tolerance = { relative: 5e-3, absolute: 1e-3 };
/**
 * Share of the norm of all gradients that rounding at every layer, forward and backward, may change. The largest part is rounding of
 * what the quantizer reads, which the entropies divide by a temperature of 0.01.
 */
const GRADIENTS_SHARE = 0.05;
/** The same for one parameter: biases get sums over pixels that nearly cancel. */
const GRADIENT_SHARE = 0.1;

const SETTINGS = { step: 0, learningRate: 1e-3, clip: null };
/** Adam's first step moves each weight by the sign of its gradient, which rounding flips where it is nearly 0: not for comparisons. */
const STILL = { ...SETTINGS, learningRate: 0 };

function openTokenizer(gpu: Gpu, precision: Precision, ...overrides: string[]): TokenizerLearner {
  const fixed = ["model.ddconfig.dropout=0", "model.lossconfig.disc_start=0"];
  const { config } = asTokenizer(
    resolveConfig(parseConfig(TINY_TOKENIZER, "tiny.yaml"), {
      overrides: [...fixed, ...overrides],
    }),
  );
  const { lossconfig, useEntropyLoss, emaDecay } = config.model.params;
  if (lossconfig.target !== "tessera.losses.VQLPIPSWithDiscriminator") {
    throw new TypeError("losses");
  }
  return new TokenizerLearner(gpu, {
    model: config.model.params,
    loss: { ...lossconfig.params, useEntropyLoss },
    emaDecay,
    seed: 1,
    precision,
  });
}

function openTransformer(gpu: Gpu, precision: Precision): TransformerLearner {
  const sizes = { vocabSize: 16, blockSize: 16, nLayer: 2, nHead: 2, nEmbd: 16, classNum: 2 };
  const rates = { multipleOf: 16, ffnDropoutP: 0, tokenDrop: 0, residDropoutP: 0 };
  return new TransformerLearner(gpu, { seed: 1, model: { ...sizes, ...rates }, precision });
}

function images(seed: string): ImageBatch {
  const pixels = randomNumbers(2 * 16 * 16 * 3, seed).map((value) => Math.tanh(value));
  return { images: pixels, shape: [2, 16, 16, 3] };
}

/** What a checkpoint holds of a loss scale. */
function scaleOf(scale: number, cleanSteps = 0): Record<string, string> {
  return { loss_scale: JSON.stringify({ scale, cleanSteps, steps: [] }) };
}

const TOKENS = {
  tokens: Uint32Array.from({ length: 4 * 16 }, (_, i) => (i * i + (i >> 4)) % 16),
  labels: Uint32Array.from([0, 1, 0, 2]),
};

/** Everything that an update changes: no running statistics. */
async function updated(
  learner: TokenizerLearner | TransformerLearner,
): Promise<Record<string, Float32Array>> {
  const values = await readEntries(learner.entries());
  return Object.fromEntries(
    Object.entries(values).filter(([name]) => !/running_|num_batches|lecam/.test(name)),
  );
}

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** Compares first moments after one step: they are gradients but for a factor. */
function assertGradients(
  found: Record<string, Float32Array>,
  expected: Record<string, Float32Array>,
): void {
  const names = Object.keys(expected).filter((name) => name.endsWith(".exp_avg"));
  assert(names.length > 10);
  const all = Math.hypot(...names.map((name) => norm(expected[name]!)));
  const differences = names.map((name) =>
    norm(found[name]!.map((value, i) => value - expected[name]![i]!))
  );
  for (const [i, name] of names.entries()) {
    // Gradients that are next to nothing beside the others consist of rounding.
    const share = differences[i]! / Math.max(norm(expected[name]!), 1e-2 * all);
    assert(share <= GRADIENT_SHARE, `gradient of ${name}: ${share} of its norm is off`);
  }
  const share = Math.hypot(...differences) / all;
  assert(share <= GRADIENTS_SHARE, `gradients: ${share} of their norm is off`);
}

gpuTest("TokenizerLearner.step() with f16 has about the gradients of f32", async (gpu) => {
  for (const weight of ["0.1", "null"]) {
    const override = `model.lossconfig.gen_loss_weight=${weight}`;
    using full = openTokenizer(gpu, "f32", override);
    using half = openTokenizer(gpu, "f16", override);
    // The entropies of so few tokens have gradients that overflow at the first scales.
    half.lossScaling!.resume(scaleOf(256), "file");
    const expected = await full.step([images("a")], STILL);
    const { loss_scale, ...found } = await half.step([images("a")], STILL);
    assertEquals(loss_scale, 256);
    assertEquals(Object.keys(found), Object.keys(expected));
    for (const name of ["nll_loss", "perceptual_loss", "codebook_loss", "disc_loss"]) {
      assertClose([found[name]!], [expected[name]!], LOSS, name);
    }
    // A ratio of gradients' norms, or fixed.
    const ratio = { relative: GRADIENTS_SHARE, absolute: 0 };
    assertClose([found.d_weight!], [expected.d_weight!], ratio, "d_weight");
    assertGradients(await updated(half), await updated(full));
  }
});

gpuTest("TransformerLearner.step() with f16 has about the gradients of f32", async (gpu) => {
  using full = openTransformer(gpu, "f32");
  using half = openTransformer(gpu, "f16");
  for (const { transformer } of [full, half]) {
    // A new head is zero and stops all gradients but its own.
    const [, head] = [...transformer.namedParameters()].find(([name]) => name === "head.weight")!;
    head.write(randomNumbers(head.size, "head").map((value) => 0.02 * value));
  }
  const settings = { ...STILL, weightDecay: 0 };
  const expected = await full.step([TOKENS], settings);
  const found = await half.step([TOKENS], settings);
  assertEquals(Object.keys(found), [...Object.keys(expected), "loss_scale"]);
  assertClose([found.loss!], [expected.loss!], LOSS, "loss");
  assertGradients(await updated(half), await updated(full));
});

gpuTest("a step whose f16 gradients overflow changes nothing and halves the scale", async (gpu) => {
  using tokenizer = openTokenizer(gpu, "f16");
  using transformer = openTransformer(gpu, "f16");
  const stepOf = {
    tokenizer: (step: number) => tokenizer.step([images("a")], { ...SETTINGS, step }),
    transformer: (step: number) =>
      transformer.step([TOKENS], { ...SETTINGS, step, weightDecay: 0.1 }),
  };
  for (const [name, learner] of Object.entries({ tokenizer, transformer })) {
    const step = stepOf[name === "tokenizer" ? "tokenizer" : "transformer"];
    learner.lossScaling!.resume(scaleOf(2 ** 60), name);
    const before = await updated(learner);
    for (const number of [0, 1]) {
      const metrics = await step(number);
      assert(Object.values(metrics).every(Number.isFinite), name);
      assertEquals(metrics.loss_scale, 2 ** 60);
      assertEquals(metrics.skipped_updates, name === "tokenizer" ? 2 : 1);
      assert(!("gradient_norm" in metrics || "generator_gradient_norm" in metrics), name);
    }
    const after = await updated(learner);
    for (const key in before) assertEquals(after[key], before[key], key);
    assertEquals((await step(2)).loss_scale, 2 ** 59);
    learner.lossScaling!.resume(scaleOf(2 ** 10), name);
    const metrics = await step(3);
    assertEquals([metrics.loss_scale, "skipped_updates" in metrics], [2 ** 10, false]);
    assertNotEquals(await updated(learner), before);
  }
});

gpuTest("the scale of a learner's losses grows after 2000 steps with an effect", async (gpu) => {
  using learner = openTransformer(gpu, "f16");
  learner.lossScaling!.resume(scaleOf(256, 1999), "file");
  const settings = { ...SETTINGS, weightDecay: 0 };
  const scales: (number | undefined)[] = [];
  for (let step = 0; step < 3; step++) {
    scales.push((await learner.step([TOKENS], { ...settings, step })).loss_scale);
  }
  assertEquals(scales, [256, 256, 512]);
});

gpuTest("f16 losses that are not finite are found, however the scale is", async (gpu) => {
  using learner = openTokenizer(gpu, "f16");
  const bad = images("b");
  bad.images[5] = NaN;
  const metrics = await learner.step([bad], SETTINGS);
  assert(Number.isNaN(metrics.nll_loss!) && Number.isNaN(metrics.total_loss!));
  assertEquals(await learner.locateNonFinite([bad], SETTINGS), "cast");
  using strong = openTokenizer(gpu, "f16", "model.lossconfig.perceptual_weight=1e12");
  strong.lossScaling!.resume(scaleOf(1), "file");
  const { generator_gradient_norm, nll_loss } = await strong.step([images("a")], SETTINGS);
  assert(Number.isFinite(nll_loss!) && !Number.isFinite(generator_gradient_norm!));
  assertEquals(await strong.locateNonFinite([images("a")], SETTINGS), "cast backward");
});

runTest("f16 on an adapter without it is refused before anything is written", async (
  _gpu,
  { runs, tokenizerConfig, transformerConfig },
) => {
  using gpu = await Gpu.open({ withoutFeatures: ["shader-f16"] });
  const message =
    "Cannot train with precision f16: expected an adapter with the feature shader-f16";
  for (const config of [tokenizerConfig, transformerConfig]) {
    const overrides = ["trainer.precision=f16"];
    await assertRejects(
      () => trainStage(gpu, config, { run: `${runs}/none`, overrides }),
      UserError,
      message,
    );
  }
  await assertRejects(() => Deno.stat(`${runs}/none`), Deno.errors.NotFound);
  assertThrows(() => openTokenizer(gpu, "f16"), UserError, message);
  assertThrows(() => openTransformer(gpu, "f16"), UserError, message);
});

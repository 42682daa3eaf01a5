/** Tests of a step of stage I: micro-batches, steps that are not finite, options of the losses, names. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import officialKeys from "../tests/golden/keys_tokenizer_16384.json" with { type: "json" };
import type { Gpu } from "../kernels/gpu.ts";
import { assertClose, type Tolerance } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { asTokenizer, parseConfig, resolveConfig } from "./config/mod.ts";
import { readEntries, TINY_TOKENIZER } from "../tests/tiny_run.ts";
import { AnomalyError } from "./loop.ts";
import { averageName, type ImageBatch, TokenizerLearner } from "./tokenizer_learner.ts";

/** Halves of equal gradients are added instead of one gradient. */
const MICRO_BATCHES: Tolerance = { relative: 1e-4, absolute: 1e-6 };

const SETTINGS = { step: 0, learningRate: 1e-3, clip: null };

function open(gpu: Gpu, ...overrides: string[]): TokenizerLearner {
  const source = parseConfig(TINY_TOKENIZER, "tiny.yaml");
  const { config } = asTokenizer(
    resolveConfig(source, { overrides: ["model.ddconfig.dropout=0", ...overrides] }),
  );
  const { lossconfig, useEntropyLoss, useEma, emaDecay } = config.model.params;
  if (lossconfig.target !== "tessera.losses.VQLPIPSWithDiscriminator") {
    throw new TypeError("losses");
  }
  return new TokenizerLearner(gpu, {
    model: config.model.params,
    loss: { ...lossconfig.params, useEntropyLoss },
    emaDecay: useEma ? emaDecay : null,
    seed: 1,
    detectAnomaly: config.trainer.detectAnomaly,
  });
}

function images(seed: string): ImageBatch {
  const pixels = randomNumbers(2 * 16 * 16 * 3, seed).map((value) => Math.tanh(value));
  return { images: pixels, shape: [2, 16, 16, 3] };
}

function readAll(learner: TokenizerLearner): Promise<Record<string, Float32Array>> {
  return readEntries(learner.entries());
}

/** Names that a step must not change if it is not finite: all but running statistics. */
function weights(values: Record<string, Float32Array>): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(values).filter(([name]) => !/running_|num_batches|lecam/.test(name)),
  );
}

gpuTest(
  "TokenizerLearner.step() on a batch twice gives the gradient of that batch",
  async (gpu) => {
    const overrides = ["model.lossconfig.disc_start=0", "model.lossconfig.lecam_loss_weight=null"];
    using once = open(gpu, ...overrides);
    using twice = open(gpu, ...overrides);
    const whole = await once.step([images("a")], SETTINGS);
    const parts = await twice.step([images("a"), images("a")], SETTINGS);
    assertEquals(Object.keys(parts).sort(), Object.keys(whole).sort());
    for (const [name, value] of Object.entries(whole)) {
      assertClose([parts[name]!], [value], MICRO_BATCHES, name);
    }
    const expected = await readAll(once);
    const found = await readAll(twice);
    for (const name of Object.keys(expected).filter((name) => name.endsWith("exp_avg"))) {
      assertClose(found[name]!, expected[name]!, MICRO_BATCHES, name);
    }
  },
);

gpuTest(
  "TokenizerLearner.step() with a NaN pixel changes no weight, and its op is found",
  async (gpu) => {
    using learner = open(gpu, "model.lossconfig.disc_start=0");
    await learner.step([images("a")], SETTINGS);
    const before = weights(await readAll(learner));
    const bad = images("b");
    bad.images[5] = NaN;
    const settings = { ...SETTINGS, step: 1 };
    const metrics = await learner.step([bad], settings);
    assert(Number.isNaN(metrics.total_loss!));
    const after = weights(await readAll(learner));
    const isAverage = (name: string): boolean => name.startsWith("model_ema.");
    for (const [name, values] of Object.entries(before)) {
      if (!isAverage(name)) assertEquals(after[name], values, name);
      else assert(after[name]!.every(Number.isFinite), name);
    }
    assertEquals(await learner.locateNonFinite([bad], settings), "conv2d");
  },
);

gpuTest(
  "TokenizerLearner.step() with detectAnomaly fails with the op, and changes no finite step",
  async (gpu) => {
    using plain = open(gpu, "model.lossconfig.disc_start=0");
    using watched = open(gpu, "model.lossconfig.disc_start=0", "trainer.detect_anomaly=true");
    const batches = [images("a")];
    assertEquals(await watched.step(batches, SETTINGS), await plain.step(batches, SETTINGS));
    const halves = [images("a"), images("b")];
    const settings = { ...SETTINGS, step: 1 };
    assertEquals(await watched.step(halves, settings), await plain.step(halves, settings));
    assertEquals(await readAll(watched), await readAll(plain));
    const bad = images("b");
    bad.images[5] = Infinity;
    for (const found of [[bad], [images("a"), bad]]) {
      using learner = open(gpu, "trainer.detect_anomaly=true");
      const error = await assertRejects(
        () => learner.step(found, { ...SETTINGS, step: 2 }),
        AnomalyError,
      );
      assertEquals(error.operation, "conv2d");
    }
  },
);

gpuTest(
  "TokenizerLearner.locateNonFinite() names the op of a weight that is not finite",
  async (gpu) => {
    using learner = open(gpu);
    const convOut = learner.tokenizer.decoder.convOut.weight;
    const values = await convOut.read();
    values[0] = 3e38;
    convOut.write(values);
    const metrics = await learner.step([images("a")], SETTINGS);
    assert(
      !Number.isFinite(metrics.total_loss!) || !Number.isFinite(metrics.generator_gradient_norm!),
    );
    const found = await learner.locateNonFinite([images("a")], SETTINGS);
    assert(found !== "the optimizer", found);
  },
);

gpuTest("TokenizerLearner.step() weighs the losses as configured", async (gpu) => {
  const metricsOf = async (...overrides: string[]) => {
    using learner = open(gpu, ...overrides.map((text) => `model.lossconfig.${text}`));
    return await learner.step([images("a")], SETTINGS);
  };
  const late = await metricsOf("disc_start=5");
  assertEquals([late.disc_factor, late.disc_loss, late.g_loss, late.d_weight], [0, 0, 0, 0]);
  const fixed = await metricsOf("disc_start=0", "disc_factor=0.5");
  assertClose([fixed.d_weight!, fixed.disc_factor!], [0.1, 0.5], MICRO_BATCHES, "fixed weight");
  assertClose([fixed.g_loss!], [0.1 * fixed.unscaled_g_loss!], MICRO_BATCHES, "g_loss");
  const adaptive = await metricsOf("disc_start=0", "gen_loss_weight=null", "disc_weight=2");
  const doubled = await metricsOf("disc_start=0", "gen_loss_weight=null", "disc_weight=4");
  assert(adaptive.d_weight! > 0 && adaptive.d_weight !== 0.1);
  assertClose([doubled.d_weight!], [2 * adaptive.d_weight!], MICRO_BATCHES, "adaptive weight");
  const plain = await metricsOf("perceptual_weight=0", "lecam_loss_weight=null");
  assertEquals([plain.perceptual_loss, plain.lecam_loss], [0, 0]);
  assertClose([plain.nll_loss!], [plain.reconstruct_loss!], MICRO_BATCHES, "nll_loss");
  const hinge = await metricsOf("disc_start=0", "disc_loss=hinge");
  const vanilla = await metricsOf("disc_start=0", "disc_loss=vanilla");
  assert(hinge.disc_loss !== vanilla.disc_loss);
});

gpuTest(
  "TokenizerLearner.step() clips the generator's gradient and moves the averages",
  async (gpu) => {
    using learner = open(gpu, "model.ema_decay=0.5");
    const name = "encoder.conv_in.weight";
    const start = (await readAll(learner))[name]!;
    const metrics = await learner.step([images("a")], { ...SETTINGS, clip: 1e-3 });
    assert(metrics.generator_gradient_norm! > 1e-3);
    const values = await readAll(learner);
    const moments = Object.entries(values).filter(([key]) =>
      key.startsWith("optimizer.generator.") && key.endsWith("exp_avg")
    );
    const norm = Math.sqrt(
      moments.reduce((sum, [, moment]) => moment.reduce((s, v) => s + v * v, sum), 0),
    );
    assertClose([norm], [0.5 * 1e-3], { relative: 1e-3, absolute: 0 }, "norm of the first moments");
    const halfway = start.map((value, i) => (value + values[name]![i]!) / 2);
    assertClose(values[averageName(name)]!, halfway, MICRO_BATCHES, "average");
    using without = open(gpu, "model.use_ema=false");
    assertEquals([...without.entries()].filter((entry) => entry.name.startsWith("model_ema.")), []);
  },
);

gpuTest("TokenizerLearner.evaluate() changes no weight and clamps reconstructions", async (gpu) => {
  using learner = open(gpu, "model.lossconfig.disc_start=0");
  const before = weights(await readAll(learner));
  const { metrics, pixels, tokens } = await learner.evaluate(images("a"), 7);
  assertEquals(weights(await readAll(learner)), before);
  assertEquals([pixels.length, tokens.length], [2 * 16 * 16 * 3, 2 * 8 * 8]);
  assert(pixels.every((value) => value >= -1 && value <= 1));
  assert(Object.values(metrics).every(Number.isFinite));
});

gpuTest(
  "TokenizerLearner.entries() has exactly the reference's names and shapes of axes",
  (gpu) => {
    // The published tokenizer at 1/16 of its channels: the same levels, blocks and attentions.
    using learner = open(
      gpu,
      ...[
        "resolution=32",
        "ch=8",
        "ch_mult=[1, 1, 2, 2, 4]",
        "num_res_blocks=4",
        "attn_resolutions=[2]",
      ]
        .map((text) => `model.ddconfig.${text}`),
      ...["disc_num_layers=3", "disc_ndf=4", "perceptual_weight=0"]
        .map((text) => `model.lossconfig.${text}`),
    );
    const rank: Record<string, number> = {};
    const own: string[] = [];
    for (const { name, parameter } of learner.entries()) {
      if (/^(optimizer|loss\.lecam_ema)\./.test(name)) own.push(name);
      else rank[name] = parameter.shape.length;
    }
    const expected = Object.entries(officialKeys).filter(([name]) =>
      !name.startsWith("loss.perceptual_loss.")
    );
    assertEquals(rank, Object.fromEntries(expected.map(([name, shape]) => [name, shape.length])));
    const trained = Object.keys(rank).filter((name) =>
      !/^model_ema|running_|num_batches_tracked/.test(name)
    );
    assertEquals(own.length, 2 + 2 * trained.length);
    assert(own.includes("loss.lecam_ema.logits_real_ema"));
    assert(own.includes("optimizer.generator.quantize.embedding.weight.exp_avg_sq"));
    assert(own.includes("optimizer.discriminator.loss.discriminator.main.0.weight.exp_avg"));
  },
);

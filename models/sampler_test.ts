import { assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import { assertClose, REDUCTION, type Tolerance } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { generateTokens } from "./sampler.ts";
import { TokenPredictor } from "./token_predictor.ts";
import { Transformer } from "./transformer.ts";
import type { TransformerOptions } from "./transformer_options.ts";

function randomTransformer(gpu: Gpu, options: Partial<TransformerOptions> = {}): Transformer {
  const transformer = new Transformer(new ModuleContext(gpu, 1), {
    vocabSize: 37,
    blockSize: 9,
    nLayer: 2,
    nHead: 2,
    nEmbd: 24,
    classNum: 4,
    multipleOf: 4,
    ...options,
  });
  for (const [name, parameter] of transformer.namedParameters()) {
    parameter.write(randomNumbers(parameter.size, name).map((value) => 0.4 * value));
  }
  return transformer;
}

/** Widths of which weights in f16, too, are read by the kernels of few rows. */
const WIDE = { nEmbd: 64, multipleOf: 64 };

const VARIANTS: Record<string, Partial<TransformerOptions>> = {
  "plain": {},
  "grouped keys": { nHead: 6, nKvHead: 2 },
  "shared modulation": { sharedAln: true },
  "a codebook": { usePretrainedCodebook: true, nCodebookEmbd: 5 },
  "widths that products of few rows serve": WIDE,
};

for (const [name, options] of Object.entries(VARIANTS)) {
  gpuTest(`TokenPredictor with ${name}: logits equal those of the whole sequence`, async (gpu) => {
    using transformer = randomTransformer(gpu, options);
    using tape = new Tape(gpu, { record: false });
    const tokens = Uint32Array.from({ length: 3 * 8 }, (_, i) => (i * i) % 37);
    const classes = tape.input(Uint32Array.from([3, 0, 4]), [3]);
    const whole = await transformer.forward({ tokens: tape.input(tokens, [3, 8]), classes }).read();
    using predictor = new TokenPredictor(transformer, classes);
    for (let position = 0; position < 9; position++) {
      const column = Uint32Array.from([0, 1, 2], (image) => tokens[8 * image + position - 1] ?? 0);
      const logits = await predictor.next(position === 0 ? undefined : tape.input(column, [3]))
        .read();
      const expected = [0, 1, 2].flatMap((image) => {
        const at = (9 * image + position) * 37;
        return [...whole.subarray(at, at + 37)];
      });
      assertClose(logits, expected, REDUCTION, `position ${position}`);
    }
    const full = tape.input(new Uint32Array(3), [3]);
    assertThrows(() => predictor.next(full), RangeError, "at most 9 tokens, found 10");
  });
}

/** Weights or keys and values of 11 bits, through two blocks of random weights: logits of a few units differ in the third digit. */
const HALF_LOGITS: Tolerance = { relative: 2 ** -6, absolute: 2 ** -5 };

for (
  const [what, options] of Object.entries({ "weights": {}, "cache": { cacheType: "f16" } } as const)
) {
  gpuTest(`TokenPredictor with ${what} in f16: logits about equal those in f32`, async (gpu) => {
    if (!gpu.features.has("shader-f16")) return;
    using transformer = randomTransformer(gpu, WIDE);
    const predict = async (options: { cacheType?: "f16" }): Promise<number[]> => {
      using tape = new Tape(gpu, { record: false });
      const classes = tape.input(Uint32Array.from([3, 0]), [2]);
      using predictor = new TokenPredictor(transformer, classes, options);
      const logits = [...await predictor.next().read()];
      for (let position = 1; position < 9; position++) {
        const column = tape.input(Uint32Array.from([position, 2 * position]), [2]);
        logits.push(...await predictor.next(column).read());
      }
      return logits;
    };
    const full = await predict({});
    if (what === "weights") transformer.convertMatrices("f16");
    const half = await predict(options);
    assertNotEquals(half, full);
    assertClose(half, full, HALF_LOGITS, "logits");
  });
}

gpuTest(
  "generateTokens() in f16 repeats itself, and gives the same image in every batch",
  async (gpu) => {
    if (!gpu.features.has("shader-f16")) return;
    using transformer = randomTransformer(gpu, WIDE);
    transformer.convertMatrices("f16");
    const settings = { guidance: 1.5, topK: 12, cacheType: "f16" } as const;
    const classes = [2, 0, 3, 1];
    const seeds = [11, 12, 13, 14];
    const together = await generateTokens(transformer, { ...settings, classes, seeds });
    assertEquals(await generateTokens(transformer, { ...settings, classes, seeds }), together);
    for (const [i, label] of classes.entries()) {
      const alone = { ...settings, classes: [label], seeds: [seeds[i]!] };
      assertEquals(await generateTokens(transformer, alone), together.slice(9 * i, 9 * i + 9));
    }
  },
);

gpuTest("generateTokens() needs fewer submits than tokens", async (gpu) => {
  using transformer = randomTransformer(gpu);
  await generateTokens(transformer, { classes: [1], seeds: [1] });
  const { submits } = gpu.stats();
  await generateTokens(transformer, { classes: [1], seeds: [1] });
  // An idle device gets a short submit first; then come longer ones, the classes, the seeds and the read.
  assertEquals(gpu.stats().submits - submits < 9, true, "submits of nine tokens");
});

gpuTest("TokenPredictor rejects tapes that record, and tokens out of turn", (gpu) => {
  using transformer = randomTransformer(gpu);
  using recording = new Tape(gpu);
  const label = Uint32Array.from([1]);
  assertThrows(
    () => new TokenPredictor(transformer, recording.input(label, [1])),
    TypeError,
    "does not record",
  );
  using tape = new Tape(gpu, { record: false });
  using predictor = new TokenPredictor(transformer, tape.input(label, [1]));
  assertThrows(() => predictor.next(tape.input(label, [1])), TypeError, "after the first call");
  predictor.next();
  assertThrows(() => predictor.next(), TypeError, "after the first call");
});

const SETTINGS = [
  { guidance: 1 },
  { guidance: 2.5, temperature: 1.3 },
  { guidance: 1.5, topK: 12, topP: 0.8 },
];

for (const settings of SETTINGS) {
  gpuTest(
    `generateTokens() gives the same image in every batch, ${JSON.stringify(settings)}`,
    async (gpu) => {
      using transformer = randomTransformer(gpu);
      const classes = [2, 0, 3, 3, 1];
      const seeds = [11, 12, 13, 2 ** 45 + 13, 11];
      const together = await generateTokens(transformer, { classes, seeds, ...settings });
      const images = classes.map((_, i) => [...together.subarray(9 * i, 9 * (i + 1))]);
      for (const [i, image] of images.entries()) {
        const alone = await generateTokens(transformer, {
          classes: [classes[i]!],
          seeds: [seeds[i]!],
          ...settings,
        });
        assertEquals([...alone], image, `image ${i}`);
        assertEquals(image.every((token) => token < 37), true);
      }
      assertEquals(new Set(images.map(String)).size, 5);
    },
  );
}

gpuTest("generateTokens() follows the greatest logits if greedy", async (gpu) => {
  using transformer = randomTransformer(gpu);
  const options = { classes: [1, 2], greedy: true };
  const tokens = await generateTokens(transformer, { ...options, seeds: [1, 2] });
  assertEquals(await generateTokens(transformer, { ...options, seeds: [3, 4] }), tokens);
  using tape = new Tape(gpu, { record: false });
  const input = Uint32Array.from([...tokens.subarray(0, 8), ...tokens.subarray(9, 17)]);
  const logits = await transformer.forward({
    tokens: tape.input(input, [2, 8]),
    classes: tape.input(Uint32Array.from(options.classes), [2]),
  }).read();
  for (let i = 0; i < 18; i++) {
    const row = [...logits.subarray(37 * i, 37 * (i + 1))];
    assertEquals(tokens[i], row.indexOf(Math.max(...row)));
  }
});

gpuTest("generateTokens() reports progress and holds no bytes afterwards", async (gpu) => {
  using transformer = randomTransformer(gpu);
  const before = gpu.stats().liveBytes;
  const progress: number[] = [];
  const options = { classes: [0], seeds: [1], onProgress: (done: number) => progress.push(done) };
  await generateTokens(transformer, options);
  assertEquals(progress, [9]);
  assertEquals(gpu.stats().liveBytes, before);
  const created = gpu.stats().createdBuffers;
  await generateTokens(transformer, options);
  assertEquals(gpu.stats().createdBuffers, created, "buffers made by a second run");
});

gpuTest("generateTokens() rejects unknown classes, missing seeds and bad settings", async (gpu) => {
  using transformer = randomTransformer(gpu);
  const sample = (options: Partial<Parameters<typeof generateTokens>[1]>) => () =>
    generateTokens(transformer, { classes: [1], seeds: [1], ...options });
  await assertRejects(sample({ classes: [4] }), RangeError, "from 0 to 3, found 4");
  await assertRejects(sample({ seeds: [] }), TypeError, "each of 1 classes, found 0");
  await assertRejects(sample({ temperature: 0 }), RangeError, "above 0, found 0");
  await assertRejects(sample({ topP: -1 }), RangeError, "found -1");
});

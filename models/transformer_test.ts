import { assertEquals, assertThrows } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import { assertClose, GRADIENT, REDUCTION, type Tolerance } from "../tests/close.ts";
import officialKeys from "../tests/golden/keys_gpt_B.json" with { type: "json" };
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { SMALL_TRANSFORMER } from "../tests/small_models.ts";
import { Transformer, type TransformerForwardOptions } from "./transformer.ts";
import { completeOptions, type TransformerOptions } from "./transformer_options.ts";
import { fileShape } from "./weights.ts";

const VARIANTS: Record<string, Partial<TransformerOptions>> = {
  "plain": {},
  "grouped keys": { nKvHead: 1 },
  "shared modulation": { sharedAln: true },
  "a codebook": { usePretrainedCodebook: true, nCodebookEmbd: 5 },
};

/** A transformer whose parameters are all random, since the head of a new one is 0. */
function randomTransformer(gpu: Gpu, options: Partial<TransformerOptions> = {}): Transformer {
  const transformer = new Transformer(new ModuleContext(gpu, 1), {
    ...SMALL_TRANSFORMER,
    ...options,
  });
  for (const [name, parameter] of transformer.namedParameters()) {
    parameter.write(randomNumbers(parameter.size, name).map((value) => 0.3 * value));
  }
  return transformer;
}

/** A standard deviation estimated from hundreds of draws. */
const DEVIATION: Tolerance = { relative: 0.05, absolute: 0 };

const TOKENS = Uint32Array.from([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]);

/** Logits (2, 9, 13) of two images. */
async function logitsOf(
  gpu: Gpu,
  transformer: Transformer,
  options: TransformerForwardOptions & { tokens?: Uint32Array; step?: number } = {},
): Promise<Float32Array> {
  const { tokens = TOKENS, step = 0, ...forward } = options;
  using tape = new Tape(gpu, { record: false, seed: 5, step });
  return await transformer.forward({
    tokens: tape.input(tokens, [2, 8]),
    classes: tape.input(Uint32Array.from([2, 0]), [2]),
  }, forward).read();
}

gpuTest("Transformer has the names and shapes of the official B model", (gpu) => {
  using transformer = new Transformer(new ModuleContext(gpu, 1), {
    vocabSize: 7,
    blockSize: 4,
    nLayer: 16,
    nHead: 4,
    nEmbd: 16,
    classNum: 5,
    multipleOf: 4,
  });
  // Extents of the official model and of this small one.
  const extents = new Map([[16384, 7], [1001, 6], [1024, 16], [3072, 48], [2816, 44], [6144, 96], [
    2048,
    32,
  ]]);
  const expected = Object.entries(officialKeys).map(([name, shape]) => [
    name,
    shape.map((extent) => extents.get(extent)),
  ]);
  const found = [...transformer.namedParameters("transformer.")].map(([name, parameter]) => [
    name,
    fileShape(parameter),
  ]);
  assertEquals(found.sort(), expected.sort());
});

Deno.test("completeOptions() derives the widths of the official sizes", () => {
  const widths = [[1024, 16], [1280, 20], [1536, 24], [1920, 30]].map(([nEmbd, nHead]) =>
    completeOptions({ ...SMALL_TRANSFORMER, nEmbd: nEmbd!, nHead: nHead!, multipleOf: 256 })
      .ffnWidth
  );
  assertEquals(widths, [2816, 3584, 4096, 5120]);
  assertEquals(completeOptions({ ...SMALL_TRANSFORMER, ffnDimMultiplier: 1.5 }).ffnWidth, 96);
});

Deno.test("completeOptions() rejects sizes that do not fit each other", () => {
  const refused: [Partial<TransformerOptions>, string][] = [
    [{ nHead: 5 }, "n_head to divide n_embd 24, found 5"],
    [{ nEmbd: 12 }, "multiple of 4 channels, found 6"],
    [{ nHead: 6, nKvHead: 4 }, "n_kv_head to divide n_head 6, found 4"],
    [{ blockSize: 8 }, "block_size to be a square, found 8"],
    [{ condDim: 16 }, "cond_dim to be n_embd 24, found 16"],
  ];
  for (const [options, message] of refused) {
    assertThrows(() => completeOptions({ ...SMALL_TRANSFORMER, ...options }), RangeError, message);
  }
});

gpuTest("Transformer starts with zero logits, small gains and halved scales", async (gpu) => {
  using transformer = new Transformer(new ModuleContext(gpu, 1), {
    ...SMALL_TRANSFORMER,
    nEmbd: 64,
    alng: 1e-2,
  });
  const parameters = new Map(transformer.namedParameters());
  const deviation = async (name: string, from = 0, to = 1): Promise<number> => {
    const values = await parameters.get(name)!.read();
    const part = values.subarray(from * values.length, to * values.length);
    return Math.sqrt(part.reduce((sum, value) => sum + value * value, 0) / part.length);
  };
  assertClose([await deviation("tok_emb.weight")], [0.02], DEVIATION, "tok_emb");
  assertClose([await deviation("blocks.0.attention.wqkv.weight")], [0.02], DEVIATION, "wqkv");
  assertClose([await deviation("blocks.1.ada_lin.1.weight", 0, 1 / 3)], [2e-4], DEVIATION, "gains");
  assertClose([await deviation("blocks.1.ada_lin.1.weight", 1 / 3)], [0.01], DEVIATION, "scales");
  assertClose([await deviation("head_nm.ada_lin.1.weight")], [0.01], DEVIATION, "head_nm");
  assertEquals(await deviation("blocks.0.ada_lin.1.bias"), 0);
  assertEquals(await deviation("head.weight"), 0);
});

for (const [name, options] of Object.entries(VARIANTS)) {
  gpuTest(`Transformer with ${name}: the gradient equals a finite difference`, async (gpu) => {
    using transformer = randomTransformer(gpu, options);
    const loss = async (): Promise<{ value: number; gradients: Float32Array[] }> => {
      using tape = new Tape(gpu);
      const result = transformer.loss({
        tokens: tape.input(TOKENS, [2, 8]),
        classes: tape.input(Uint32Array.from([2, 0]), [2]),
        targets: tape.input(new Uint32Array(18).fill(4), [2, 9]),
      });
      const found = tape.grad(result, transformer.trainableParameters());
      return {
        value: (await result.read())[0]!,
        gradients: await Promise.all(
          transformer.trainableParameters().map((parameter) => found.get(parameter)!.read()),
        ),
      };
    };
    const { gradients } = await loss();
    const squares = gradients.flatMap((gradient) => [...gradient]).reduce((s, v) => s + v * v, 0);
    const length = Math.sqrt(squares);
    const values = await Promise.all(
      transformer.trainableParameters().map((parameter) => parameter.read()),
    );
    const moved = async (step: number): Promise<number> => {
      for (const [i, parameter] of transformer.trainableParameters().entries()) {
        parameter.write(
          values[i]!.map((value, at) => value + step / length * gradients[i]![at]!),
        );
      }
      return (await loss()).value;
    };
    const step = 5e-3;
    const slope = (await moved(step) - await moved(-step)) / (2 * step);
    assertClose([length], [slope], GRADIENT, "slope along the gradient");
  });

  gpuTest(`Transformer with ${name}: an image does not depend on the batch`, async (gpu) => {
    using transformer = randomTransformer(gpu, options);
    const both = await logitsOf(gpu, transformer);
    using tape = new Tape(gpu, { record: false });
    const alone = await transformer.forward({
      tokens: tape.input(TOKENS.subarray(8), [1, 8]),
      classes: tape.input(Uint32Array.from([0]), [1]),
    }).read();
    assertClose(alone, both.subarray(9 * 13), REDUCTION, "second image");
  });
}

gpuTest("Transformer does not see later tokens", async (gpu) => {
  using transformer = randomTransformer(gpu);
  const before = await logitsOf(gpu, transformer);
  const tokens = TOKENS.slice();
  tokens[4] = 12;
  const after = await logitsOf(gpu, transformer, { tokens });
  // Token 4 of the first image is at position 5.
  assertEquals(after.subarray(0, 5 * 13), before.subarray(0, 5 * 13));
  assertEquals(after.subarray(9 * 13), before.subarray(9 * 13));
  for (let position = 5; position < 9; position++) {
    const at = position * 13;
    assertEquals(after.subarray(at, at + 13).some((value, i) => value !== before[at + i]), true);
  }
});

gpuTest("Transformer drops at random in training only, by step", async (gpu) => {
  const rates: Partial<TransformerOptions>[] = [
    {},
    { tokenDrop: 0.3 },
    { residDropoutP: 0.3 },
    { ffnDropoutP: 0.3 },
    { attnDropoutP: 0.3 },
    { dropPathRate: 0.6 },
  ];
  for (const rate of rates) {
    using transformer = randomTransformer(gpu, { ffnDropoutP: 0, tokenDrop: 0, ...rate });
    const evaluated = await logitsOf(gpu, transformer);
    assertEquals(await logitsOf(gpu, transformer, { step: 1 }), evaluated);
    const trained = await logitsOf(gpu, transformer, { training: true, step: 1 });
    assertEquals(await logitsOf(gpu, transformer, { training: true, step: 1 }), trained);
    const other = await logitsOf(gpu, transformer, { training: true, step: 4 });
    // In these steps no class is dropped, so without a rate nothing changes.
    const changed = Object.keys(rate).length > 0;
    assertEquals(other.some((value, i) => value !== trained[i]), changed, JSON.stringify(rate));
  }
});

gpuTest("Transformer replaces input tokens in training as pkeep says", async (gpu) => {
  using transformer = randomTransformer(gpu, { ffnDropoutP: 0, tokenDrop: 0 });
  const kept = await logitsOf(gpu, transformer, { training: true, step: 3 });
  const noisy = await logitsOf(gpu, transformer, { training: true, step: 3, pkeep: 0.2 });
  assertEquals(noisy.some((value, i) => value !== kept[i]), true);
  assertEquals(await logitsOf(gpu, transformer, { pkeep: 0.2 }), await logitsOf(gpu, transformer));
});

gpuTest("Transformer.embedClasses() drops a tenth of the classes in training", async (gpu) => {
  using transformer = randomTransformer(gpu);
  using tape = new Tape(gpu, { record: false, seed: 2 });
  const classes = tape.input(new Uint32Array(4000), [4000]);
  const found = await transformer.embedClasses(classes, { training: true }).read();
  const table = await new Map(transformer.namedParameters()).get(
    "class_emb.embedding_table.weight",
  )!
    .read();
  let dropped = 0;
  for (let i = 0; i < 4000; i++) if (found[24 * i] === table[24 * 3]) dropped++;
  // Five standard deviations of a binomial share.
  assertEquals(Math.abs(dropped / 4000 - 0.1) < 5 * Math.sqrt(0.09 / 4000), true);
});

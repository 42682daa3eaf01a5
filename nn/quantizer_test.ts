import { assert, assertEquals, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { LOGIT_BYTES } from "../kernels/quantizer_plan.ts";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, randomNumbers } from "../tests/op_case.ts";
import { quantizerReference } from "../tests/quantizer_reference.ts";
import { add, scale } from "./math.ts";
import { codebookEntries, quantize } from "./quantizer.ts";
import { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

interface Case {
  name: string;
  rows: number;
  codes: number;
  dimensions: number;
  /** Standard deviation of the tokens; the codes have 1. */
  scale?: number;
  entropyTemperature?: number;
  /** Changes the codes. */
  edit?: (codes: Float32Array) => void;
  /** Binds so few bytes that small tensors take the ranged paths. */
  ranges?: boolean;
  /** Bytes of logits at a time. */
  logitBytes?: number;
  /** Reads textures, as a software adapter does where operands are large. */
  texels?: boolean;
}

const CASES: readonly Case[] = [
  { name: "of an odd size", rows: 15, codes: 37, dimensions: 10 },
  { name: "of one token", rows: 1, codes: 19, dimensions: 8 },
  { name: "of one code", rows: 5, codes: 1, dimensions: 4 },
  { name: "of one number", rows: 3, codes: 2, dimensions: 1 },
  { name: "of full and partial tiles", rows: 35, codes: 300, dimensions: 16, scale: 0.3 },
  {
    name: "in ranges of tokens and of codes",
    rows: 41,
    codes: 150,
    dimensions: 12,
    scale: 0.3,
    ranges: true,
  },
  {
    name: "in blocks of tokens",
    rows: 300,
    codes: 45,
    dimensions: 12,
    scale: 0.3,
    logitBytes: 16384,
  },
  {
    name: "in blocks of tokens, of textures",
    rows: 300,
    codes: 44,
    dimensions: 12,
    scale: 0.3,
    logitBytes: 16384,
    texels: true,
  },
  {
    name: "in ranges and blocks of large logits",
    rows: 150,
    codes: 134,
    dimensions: 12,
    scale: 12,
    ranges: true,
    logitBytes: 40000,
  },
  {
    name: "at the reference's temperature",
    rows: 12,
    codes: 50,
    dimensions: 8,
    scale: 0.05,
    entropyTemperature: 0.01,
  },
  {
    name: "of large logits in close pairs",
    rows: 20,
    codes: 40,
    dimensions: 16,
    scale: 20,
    entropyTemperature: 0.05,
    edit: (codes) => {
      for (let i = 0; i < codes.length / 2; i++) {
        codes[codes.length / 2 + i] = codes[i]! + 1e-3 * Math.sin(i);
      }
    },
  },
  {
    name: "of equal codes",
    rows: 9,
    codes: 24,
    dimensions: 8,
    edit: (codes) => {
      for (const k of [3, 7, 20]) for (let d = 0; d < 8; d++) codes[k * 8 + d] = 2 * (d % 3);
    },
  },
];

const WEIGHTS = {
  beta: 0.4,
  sampleMinimizationWeight: 0.7,
  batchMaximizationWeight: 1.3,
  useEntropyLoss: true,
};

/** Errors of gradients are measured against the largest one: small ones are differences of large ones. */
function relativeTo(values: readonly number[]): { relative: number; absolute: number } {
  return { relative: 0, absolute: REDUCTION.relative * Math.max(...values.map(Math.abs)) };
}

for (const testCase of CASES) {
  const { rows, codes, dimensions, entropyTemperature = 0.1 } = testCase;
  gpuTest(
    `quantize() ${testCase.name}: values and gradients equal the reference`,
    async (shared) => {
      const { name } = testCase;
      const z = randomNumbers(rows * dimensions, `${name} z`).map((v) => v * (testCase.scale ?? 1));
      const codebook = randomNumbers(codes * dimensions, `${name} codes`);
      testCase.edit?.(codebook);
      const dzq = randomNumbers(z.length, `${name} upstream`);
      const { logitBytes = LOGIT_BYTES } = testCase;
      const options = { ...WEIGHTS, entropyTemperature, logitBytes };
      const expected = quantizerReference(z, codebook, {
        ...options,
        dimensions,
        dzq,
        dquantLoss: 3,
        dEntropyLoss: 2,
      });
      // The logits, and the lanes' statistics, of as many tokens as one alignment of offsets holds must fit.
      const maxBindingBytes = 24 * shared.offsetAlignment * shared.threads;
      const limited = testCase.ranges
        ? await Gpu.open({ maxBindingBytes })
        : testCase.texels
        ? await Gpu.open({ leastTexelBytes: 0 })
        : undefined;
      try {
        using tape = new Tape(limited ?? shared);
        const tokens = tape.input(z, [rows, dimensions]);
        const table = tape.input(codebook, [codes, dimensions]);
        const found = quantize(tokens, table, options);
        assertEquals([...await found.indices.readIndices()], expected.indices);
        assertEquals([...await found.zq.read()], expected.zq);
        const check = async (what: string, x: Tensor, value: number): Promise<void> =>
          assertClose(await x.read(), [value], REDUCTION, what);
        await check("quantization loss", found.quantLoss, expected.quantLoss);
        await check("sample entropy", found.sampleEntropy!, expected.sampleEntropy);
        await check("average entropy", found.averageEntropy!, expected.averageEntropy);
        const losses = add(found.quantLoss, found.entropyLoss!, { alpha: 3, beta: 2 });
        const sums = [
          tape.grad(found.zq, [tokens, table], { gradient: tape.input(dzq, [rows, dimensions]) }),
          tape.grad(losses, [tokens, table]),
        ];
        for (
          const [operand, want] of [[tokens, expected.dz], [table, expected.dcodebook]] as const
        ) {
          const [a, b] = await Promise.all(sums.map((gradients) => gradients.get(operand)!.read()));
          const got = a!.map((value, i) => value + b![i]!);
          assertClose(got, want, relativeTo(want), `gradient of shape [${operand.shape}]`);
        }
      } finally {
        limited?.[Symbol.dispose]();
      }
    },
  );
}

const SMALL = { z: { shape: [13, 12], scale: 0.5 }, codebook: { shape: [37, 12] } };

checkOp("quantize()", [{
  name: "entropy loss",
  inputs: SMALL,
  run: ({ z, codebook }) =>
    quantize(z!, codebook!, { ...WEIGHTS, entropyTemperature: 1 }).entropyLoss!,
}, {
  name: "sample entropy",
  inputs: SMALL,
  run: ({ z, codebook }) =>
    quantize(z!, codebook!, { ...WEIGHTS, entropyTemperature: 1 }).sampleEntropy!,
}, {
  name: "average entropy",
  inputs: SMALL,
  run: ({ z, codebook }) =>
    quantize(z!, codebook!, { ...WEIGHTS, entropyTemperature: 1 }).averageEntropy!,
}]);

gpuTest("quantize() without entropies has the same codes and gradients of z_q", async (gpu) => {
  using tape = new Tape(gpu);
  const z = tape.input(randomNumbers(60, "z"), [6, 10]);
  const codebook = tape.input(randomNumbers(250, "codes"), [25, 10]);
  const gradient = tape.input(randomNumbers(60, "upstream"), [6, 10]);
  const [plain, full] = [false, true].map((useEntropyLoss) => {
    const quantized = quantize(z, codebook, { useEntropyLoss });
    return { quantized, gradients: tape.grad(quantized.zq, [z, codebook], { gradient }) };
  });
  assertEquals(plain!.quantized.entropyLoss, undefined);
  assertEquals(
    await plain!.quantized.indices.readIndices(),
    await full!.quantized.indices.readIndices(),
  );
  for (const operand of [z, codebook]) {
    const want = await full!.gradients.get(operand)!.read();
    const got = await plain!.gradients.get(operand)!.read();
    assertClose(got, want, relativeTo([...want]), "gradient");
  }
});

gpuTest("quantize() takes the lower index where probabilities are equal in f32", async (gpu) => {
  using tape = new Tape(gpu);
  // Products 0.01 and 0.01 + 1e-9 are one probability in f32. Codes 1 and 65 share a lane, 1 and 2 do not.
  const z = tape.input(new Float32Array([0.01, 0.01]), [1, 2]);
  for (const second of [2, 65]) {
    const codes = new Float32Array(140).fill(-1);
    codes.set([1, 0], 2);
    codes.set([1, 1e-7], 2 * second);
    const codebook = tape.input(codes, [70, 2]);
    assertEquals([...await quantize(z, codebook).indices.readIndices()], [1]);
  }
});

gpuTest("quantize() of the gradient of z alone gives no gradient of the codebook", async (gpu) => {
  using tape = new Tape(gpu);
  const z = tape.input(randomNumbers(20, "z"), [5, 4]);
  const codebook = tape.constant(tape.input(randomNumbers(28, "codes"), [7, 4]));
  const loss = scale(quantize(z, codebook, { useEntropyLoss: true }).quantLoss, 2);
  const gradients = tape.grad(loss, [z]);
  assertEquals(gradients.has(codebook), false);
  assert((await gradients.get(z)!.read()).some((value) => value !== 0));
});

gpuTest("quantize() holds no more logits than it is told to", async () => {
  using gpu = await Gpu.open();
  using tape = new Tape(gpu);
  const z = tape.input(randomNumbers(2048 * 4, "z"), [2048, 4]);
  const codebook = tape.input(randomNumbers(4096 * 4, "codes"), [4096, 4]);
  const quantized = quantize(z, codebook, { useEntropyLoss: true, logitBytes: 2 ** 20 });
  tape.grad(add(quantized.quantLoss, quantized.entropyLoss!), [z, codebook]);
  await gpu.settle();
  assert(gpu.stats().peakBytes < 2048 * 4096, `${gpu.stats().peakBytes} bytes`);
});

gpuTest("quantize() gives kept logits back during the last walk", async () => {
  const walk = async (last: boolean): Promise<{ live: number; gradients: Float32Array[] }> => {
    using gpu = await Gpu.open();
    using tape = new Tape(gpu);
    const z = tape.input(randomNumbers(2048 * 4, "z"), [2048, 4]);
    const codebook = tape.input(randomNumbers(1024 * 4, "codes"), [1024, 4]);
    const { quantLoss, entropyLoss } = quantize(z, codebook, {
      useEntropyLoss: true,
      logitBytes: 2 ** 20,
    });
    const gradients = tape.grad(add(quantLoss, entropyLoss!), [z, codebook], { last });
    const read = [z, codebook].map((operand) => gradients.get(operand)!.read());
    return { live: gpu.stats().peakLiveBytes, gradients: await Promise.all(read) };
  };
  const kept = await walk(false);
  const released = await walk(true);
  assertEquals(released.gradients, kept.gradients);
  // Two blocks are kept; while others are computed again, theirs serve as scratch.
  assert(released.live < kept.live - 2 ** 19, `${released.live} of ${kept.live} bytes`);
});

gpuTest("quantize() rejects tokens and codes of different lengths", (gpu) => {
  using tape = new Tape(gpu);
  const z = tape.input(new Float32Array(6), [2, 3]);
  const codebook = tape.input(new Float32Array(8), [2, 4]);
  assertThrows(() => quantize(z, codebook), TypeError, "equal length");
  assertThrows(() => quantize(z, z, { entropyTemperature: 0 }), RangeError, "positive");
  assertThrows(() => quantize(z, z, { logitBytes: 0 }), RangeError, "bytes of logits");
});

gpuTest("codebookEntries() looks codes up", async (gpu) => {
  using tape = new Tape(gpu);
  const codebook = tape.input(new Float32Array([1, 2, 3, 4, 5, 6]), [3, 2]);
  const entries = codebookEntries(tape.input(new Uint32Array([2, 0]), [1, 2]), codebook);
  assertEquals(entries.shape, [1, 2, 2]);
  assertEquals([...await entries.read()], [5, 6, 1, 2]);
});

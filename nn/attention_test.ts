import { assertEquals, assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import { attention, type AttentionOptions, attentionProbabilities } from "./attention.ts";
import { scale } from "./math.ts";
import { Tape } from "./tape.ts";

interface Sizes {
  batch: number;
  queries: number;
  tokens: number;
  heads: number;
  kvHeads: number;
  headDim: number;
}

/** Attention on the host in double precision. */
function reference(
  { q, k, v }: Record<string, number[]>,
  sizes: Sizes,
  options: AttentionOptions,
): number[] {
  const { batch, queries, tokens, heads, kvHeads, headDim } = sizes;
  const { causal = false, diagonal = 0, scale = 1 / Math.sqrt(headDim), keys = tokens } = options;
  const y: number[] = [];
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < queries; i++) {
      for (let h = 0; h < heads; h++) {
        const row = ((b * queries + i) * heads + h) * headDim;
        const at = (j: number): number =>
          ((b * tokens + j) * kvHeads + Math.floor(h * kvHeads / heads)) * headDim;
        const seen = causal ? Math.min(keys, i + diagonal + 1) : keys;
        const scores = Array.from({ length: seen }, (_, j) => {
          let sum = 0;
          for (let c = 0; c < headDim; c++) sum += q![row + c]! * k![at(j) + c]!;
          return scale * sum;
        });
        const greatest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - greatest));
        const total = weights.reduce((a, b) => a + b);
        for (let c = 0; c < headDim; c++) {
          y.push(weights.reduce((sum, weight, j) => sum + weight / total * v![at(j) + c]!, 0));
        }
      }
    }
  }
  return y;
}

function attentionCase(
  name: string,
  sizes: Sizes,
  options: AttentionOptions & Pick<OpCase, "bindingLimit"> & { spread?: number } = {},
): OpCase {
  const { batch, queries, tokens, heads, kvHeads, headDim } = sizes;
  const { bindingLimit, spread = 1, ...rest } = options;
  return {
    name,
    inputs: {
      q: { shape: [batch, queries, heads, headDim], scale: spread },
      k: { shape: [batch, tokens, kvHeads, headDim], scale: spread },
      v: { shape: [batch, tokens, kvHeads, headDim] },
    },
    run: ({ q, k, v }) => attention(q!, k!, v!, rest),
    reference: (inputs) => reference(inputs, sizes, rest),
    close: REDUCTION,
    ...(bindingLimit === undefined ? {} : { bindingLimit }),
  };
}

const odd: Sizes = { batch: 2, queries: 11, tokens: 11, heads: 3, kvHeads: 3, headDim: 5 };

checkOp(
  "attention()",
  [
    attentionCase("full", odd),
    attentionCase("causal", odd, { causal: true, scale: 0.7 }),
    attentionCase("full, a workgroup a row", odd, { lanes: 16 }),
    attentionCase("causal, a workgroup a row", odd, { causal: true, lanes: 4 }),
    attentionCase("of other lengths", { ...odd, queries: 3, tokens: 7 }),
    attentionCase("causal over a cache", { ...odd, queries: 2, tokens: 9 }, {
      causal: true,
      diagonal: 3,
      keys: 6,
    }),
    attentionCase("with grouped keys", {
      batch: 2,
      queries: 6,
      tokens: 6,
      heads: 6,
      kvHeads: 2,
      headDim: 4,
    }, { causal: true }),
    attentionCase("of one position", {
      batch: 1,
      queries: 1,
      tokens: 1,
      heads: 1,
      kvHeads: 1,
      headDim: 3,
    }),
    attentionCase("of one query over a cache", {
      batch: 3,
      queries: 1,
      tokens: 40,
      heads: 4,
      kvHeads: 2,
      headDim: 8,
    }, { keys: 37 }),
    attentionCase("of one head of many channels, in ranges", {
      batch: 5,
      queries: 6,
      tokens: 6,
      heads: 1,
      kvHeads: 1,
      headDim: 16,
    }, { bindingLimit: 1024 }),
    attentionCase("causal, in ranges", { ...odd, batch: 3 }, { causal: true, bindingLimit: 2048 }),
    attentionCase("of steep scores", odd, { scale: 30, spread: 0.5 }),
  ].map((testCase) =>
    testCase.name === "of steep scores" ? { ...testCase, epsilon: 1e-3 } : testCase
  ),
);

gpuTest(
  "attentionProbabilities() gives exact zeros behind the mask and rows that add up to 1",
  async (gpu) => {
    using tape = new Tape(gpu, { record: false });
    const q = tape.input(randomNumbers(2 * 70 * 4, "q"), [1, 70, 2, 4]);
    const p = await attentionProbabilities(q, q, { causal: true }).read();
    for (let row = 0; row < 140; row++) {
      const values = p.subarray(70 * row, 70 * (row + 1));
      assertEquals([...values.subarray(row % 70 + 1)], Array(69 - row % 70).fill(0));
      assertClose([values.reduce((sum, value) => sum + value, 0)], [1], REDUCTION, "sum of a row");
    }
  },
);

gpuTest("attention() applies a transformation to the probabilities", async (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(randomNumbers(12, "x"), [1, 3, 1, 4]);
  const plain = await attention(x, x, x).read();
  const halved = await attention(x, x, x, { transform: (p) => scale(p, 0.5) }).read();
  assertClose(halved, plain.map((value) => value / 2), REDUCTION, "half");
});

gpuTest("attention() rejects shapes that do not fit", (gpu) => {
  using tape = new Tape(gpu);
  const heads = (...shape: number[]) =>
    tape.input(new Float32Array(shape.reduce((a, b) => a * b)), shape);
  const q = heads(1, 3, 4, 2);
  assertThrows(() => attention(q, heads(1, 3, 3, 2), heads(1, 3, 3, 2)), TypeError, "divisor of 4");
  assertThrows(() => attention(q, heads(2, 3, 4, 2), heads(2, 3, 4, 2)), TypeError, "[2,3,4,2]");
  assertThrows(() => attention(q, q, q, { keys: 4 }), RangeError, "from 1 to 3 keys, found 4");
});

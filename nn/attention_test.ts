import { assert, assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import { attention, type AttentionOptions } from "./attention.ts";
import { dropout } from "./dropout.ts";
import { reshape, scale } from "./math.ts";
import { matmul } from "./matmul.ts";
import { softmax } from "./softmax.ts";
import { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

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

const square: Sizes = { batch: 2, queries: 12, tokens: 12, heads: 3, kvHeads: 3, headDim: 8 };

/** Sizes, masks and options that both forms compute. */
const CASES: Record<string, [Sizes, Parameters<typeof attentionCase>[2]?]> = {
  "full": [square],
  "causal": [square, { causal: true, scale: 0.7 }],
  "of other lengths": [{ ...square, queries: 3, tokens: 7 }],
  "causal over a cache": [{ ...square, queries: 2, tokens: 9 }, {
    causal: true,
    diagonal: 3,
    keys: 6,
  }],
  "with grouped keys": [{ ...square, heads: 6, kvHeads: 2, headDim: 4 }, { causal: true }],
  "of one position": [{ batch: 1, queries: 1, tokens: 1, heads: 1, kvHeads: 1, headDim: 4 }],
  "of one query over a cache": [
    { batch: 3, queries: 1, tokens: 40, heads: 4, kvHeads: 2, headDim: 8 },
    { keys: 37 },
  ],
  "of more tokens than a tile": [
    { batch: 1, queries: 70, tokens: 67, heads: 2, kvHeads: 1, headDim: 20 },
    { causal: true },
  ],
  "causal, with keys that no query sees": [{ ...square, queries: 5, tokens: 13 }, { causal: true }],
  "causal, of several blocks": [
    { batch: 2, queries: 131, tokens: 133, heads: 2, kvHeads: 1, headDim: 4 },
    { causal: true, diagonal: 1 },
  ],
  "of steep scores": [square, { scale: 12, spread: 0.5 }],
};

/** Finite differences of scores that are not small need small steps. */
function smallSteps(testCase: OpCase): OpCase {
  return { ...testCase, epsilon: testCase.name.startsWith("of steep scores") ? 5e-4 : 3e-3 };
}

checkOp("attention()", [
  ...(["blocks", "tiles"] as const).flatMap((form) =>
    Object.entries(CASES).map(([name, [sizes, options]]) =>
      smallSteps(attentionCase(`${name}, in ${form}`, sizes, { ...options, plan: { form } }))
    )
  ),
  attentionCase("of heads of five", odd),
  attentionCase("causal, of heads of five", odd, { causal: true }),
  attentionCase("full, several lanes a row", odd, { plan: { lanes: 16 } }),
  attentionCase("causal, several lanes a row", square, { causal: true, plan: { lanes: 4 } }),
  attentionCase("causal, a few queries a block", square, {
    causal: true,
    plan: { form: "blocks", scoreBytes: 5 * 4 * 3 * 12 },
  }),
  attentionCase("with grouped keys, an image a block", {
    batch: 3,
    queries: 6,
    tokens: 6,
    heads: 6,
    kvHeads: 2,
    headDim: 4,
  }, { plan: { form: "blocks", scoreBytes: 4 * 6 * 36 } }),
  attentionCase("of one head of many channels, in ranges", {
    batch: 5,
    queries: 6,
    tokens: 6,
    heads: 1,
    kvHeads: 1,
    headDim: 16,
  }, { bindingLimit: 1024 }),
  attentionCase("causal, in ranges", { ...odd, batch: 3 }, { causal: true, bindingLimit: 2048 }),
  attentionCase("causal, in tiles and ranges", { ...square, batch: 3 }, {
    causal: true,
    bindingLimit: 2560,
    plan: { form: "tiles" },
  }),
]);

checkOp(
  "attention()",
  (["blocks", "tiles"] as const).map((form) => ({
    ...attentionCase(`in ${form}, of 16-bit heads`, { ...square, kvHeads: 1 }, {
      causal: true,
      plan: { form, scoreBytes: 4 * 5 * 3 * 12 },
    }),
    half: ["q", "k", "v"],
  })),
);

/** The same from plain ops, of one head a sequence: (batch, tokens, 1, headDim). */
function plainAttention(q: Tensor, k: Tensor, v: Tensor, rate: number): Tensor {
  const rows = (x: Tensor): Tensor => reshape(x, [x.shape[0]!, x.shape[1]!, x.shape[3]!]);
  const scores = scale(matmul(rows(q), rows(k), { transposeB: true }), q.shape[3]! ** -0.5);
  return reshape(matmul(dropout(softmax(scores), rate), rows(v)), q.shape);
}

for (const form of ["blocks", "tiles"] as const) {
  gpuTest(
    `attention() in ${form} equals plain ops, and drops what dropout() drops`,
    async (gpu) => {
      const [batch, queries, tokens, headDim] = [3, 9, 20, 8];
      for (const rate of [0, 0.4]) {
        const results = [attention, plainAttention].map(async (run) => {
          using tape = new Tape(gpu, { seed: 3, step: 5 });
          const input = (name: string, count: number): Tensor =>
            tape.input(randomNumbers(batch * count * headDim, name), [batch, count, 1, headDim]);
          const [q, k, v] = [input("q", queries), input("k", tokens), input("v", tokens)];
          const y = run === plainAttention
            ? plainAttention(q, k, v, rate)
            : attention(q, k, v, { dropout: rate, plan: { form, scoreBytes: 4 * 20 * 7 } });
          const found = tape.grad(y, [q, k, v], { gradient: input("gradient", queries) });
          return [await y.read(), ...await Promise.all([q, k, v].map((x) => found.get(x)!.read()))];
        });
        const [fused, plain] = await Promise.all(results);
        for (const [i, name] of ["y", "dq", "dk", "dv"].entries()) {
          assertClose(fused![i]!, plain![i]!, REDUCTION, `${name} with dropout ${rate}`);
        }
      }
    },
  );
}

gpuTest(
  "attention() drops by query, key and head where keys are no multiple of four",
  async (gpu) => {
    const draw = async (form: "blocks" | "tiles"): Promise<Float32Array> => {
      using tape = new Tape(gpu, { seed: 2, record: false });
      const x = tape.input(randomNumbers(2 * 11 * 2 * 4, "x"), [2, 11, 2, 4]);
      return await attention(x, x, x, { dropout: 0.5, plan: { form } }).read();
    };
    assertClose(await draw("tiles"), await draw("blocks"), REDUCTION, "output");
  },
);

gpuTest("attention() keeps no array of queries by keys", (gpu) => {
  using tape = new Tape(gpu);
  const [tokens, heads, headDim] = [512, 4, 4];
  const elements = tokens * heads * headDim;
  const x = tape.input(randomNumbers(elements, "x"), [1, tokens, heads, headDim]);
  const before = gpu.stats().liveBytes;
  const y = attention(x, x, x, { plan: { scoreBytes: 2 ** 18 } });
  const kept = gpu.stats().liveBytes - before;
  // Buffers of the pool may be a little larger than what is asked for.
  assert(kept < 5 * (elements + tokens * heads), `kept ${kept} bytes`);
  tape.grad(y, [x], { gradient: x });
});

gpuTest("attention() rejects shapes that do not fit", (gpu) => {
  using tape = new Tape(gpu);
  const heads = (...shape: number[]) =>
    tape.input(new Float32Array(shape.reduce((a, b) => a * b)), shape);
  const q = heads(1, 3, 4, 2);
  assertThrows(() => attention(q, heads(1, 3, 3, 2), heads(1, 3, 3, 2)), TypeError, "divisor of 4");
  assertThrows(() => attention(q, heads(2, 3, 4, 2), heads(2, 3, 4, 2)), TypeError, "[2,3,4,2]");
  assertThrows(() => attention(q, q, q, { keys: 4 }), RangeError, "from 1 to 3 keys, found 4");
  assertThrows(() => attention(q, q, q, { dropout: 2 }), RangeError, "in [0, 1], found 2");
  assertThrows(() => attention(q, q, q, { plan: { form: "tiles" } }), RangeError, "found 2");
});

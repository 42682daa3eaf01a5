import { assertEquals, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { assertClose, ELEMENTWISE, EXACT } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import {
  filterLogits,
  type FilterSettings,
  guideLogits,
  type SampleSettings,
  sampleTokens,
  seedWords,
} from "./sampling.ts";
import { Tape } from "./tape.ts";

/** Indices that a filter keeps, by sorting; equal logits come in the order of their indices. */
function kept(logits: ArrayLike<number>, { topK = 0, topP = 1 }: FilterSettings): number[] {
  const order = Array.from(logits, (value, i) => ({ value, i }))
    .sort((a, b) => b.value - a.value || a.i - b.i);
  const least = order[Math.min(topK || Infinity, order.length) - 1]!.value;
  let left = order.filter(({ value }) => value >= least);
  if (topP < 1) {
    const weights = left.map(({ value }) => Math.exp(value - left[0]!.value));
    const total = weights.reduce((a, b) => a + b);
    let before = 0;
    left = left.filter((_, i) => {
      const keep = i === 0 || before <= topP * total;
      before += weights[i]!;
      return keep;
    });
  }
  return left.map(({ i }) => i).sort((a, b) => a - b);
}

async function found(
  gpu: Gpu,
  logits: Float32Array,
  options: FilterSettings & { rows: number; lanes: number },
): Promise<number[][]> {
  using tape = new Tape(gpu, { record: false });
  const { rows, ...settings } = options;
  const x = tape.input(logits, [rows, logits.length / rows]);
  const filtered = await filterLogits(x, settings).read();
  const columns = logits.length / rows;
  return Array.from({ length: rows }, (_, row) => {
    const values = filtered.subarray(row * columns, (row + 1) * columns);
    const indices = [...values.keys()].filter((i) => values[i]! > -Infinity);
    for (const i of indices) assertEquals(values[i], logits[row * columns + i]);
    return indices;
  });
}

const columns = 301;
const hard = new Float32Array(5 * columns);
hard.set(randomNumbers(columns, "plain").map((value) => 3 * value), 0);
hard.fill(-2.5, columns, 2 * columns); // all equal
hard.set(randomNumbers(columns, "ties").map((value) => Math.round(2 * value)), 2 * columns);
hard.set(randomNumbers(columns, "large").map((value) => 90 * value + 1000), 3 * columns);
hard.set(randomNumbers(columns, "zeros").map((value) => value > 0 ? 0 : -0), 4 * columns);

const settings: FilterSettings[] = [
  {},
  { topK: 1 },
  { topK: 7 },
  { topK: 300 },
  { topK: 5000 },
  { topP: 0 },
  { topP: 0.3 },
  { topP: 0.83 },
  { topP: 0.999 },
  { topK: 40, topP: 0.6 },
];

for (const lanes of [1, 8, 64]) {
  gpuTest(`filterLogits() keeps what sorting keeps, ${lanes} lanes a row`, async (gpu) => {
    for (const setting of settings) {
      const indices = await found(gpu, hard, { ...setting, rows: 5, lanes });
      for (const [row, list] of indices.entries()) {
        const expected = kept(hard.subarray(row * columns, (row + 1) * columns), setting);
        assertEquals(list, expected, `row ${row} of ${JSON.stringify(setting)}`);
      }
    }
  });
}

gpuTest("filterLogits() takes rows in ranges", async (gpu) => {
  using limited = await Gpu.open({ maxBindingBytes: 4096 });
  const logits = randomNumbers(9 * 200, "ranges");
  const options = { topP: 0.7, rows: 9, lanes: 1 };
  assertEquals(await found(limited, logits, options), await found(gpu, logits, options));
});

gpuTest(
  "guideLogits() moves away from the logits without class and divides by the temperature",
  async (gpu) => {
    using tape = new Tape(gpu, { record: false });
    const logits = randomNumbers(3 * 2 * 5, "guide");
    const y = await guideLogits(tape.input(logits, [3, 2, 5]), { guidance: 2.5, temperature: 0.8 })
      .read();
    const expected = Array.from({ length: 15 }, (_, i) => {
      const at = Math.floor(i / 5) * 10 + i % 5;
      return (logits[at + 5]! + (logits[at]! - logits[at + 5]!) * 2.5) / 0.8;
    });
    assertClose(y, expected, ELEMENTWISE, "guided");
    const alone = await guideLogits(tape.input(logits, [6, 1, 5])).read();
    assertClose(alone, logits, EXACT, "one copy");
  },
);

/** Tokens of `seeds` images that all have the same logits. */
async function draws(
  gpu: Gpu,
  logits: Float32Array,
  options:
    & { seeds: number[]; position?: number }
    & Pick<SampleSettings, "topK" | "topP" | "greedy" | "lanes">,
): Promise<number[]> {
  using tape = new Tape(gpu, { record: false });
  const { seeds, position = 0, ...rest } = options;
  const rows = seeds.length;
  const repeated = new Float32Array(rows * logits.length);
  for (let row = 0; row < rows; row++) repeated.set(logits, row * logits.length);
  const tokens = tape.input(new Uint32Array(rows * 3), [rows, 3]);
  const next = sampleTokens(tape.input(repeated, [rows, logits.length]), {
    seeds: tape.input(seedWords(seeds), [rows, 2]),
    tokens,
    position,
    copies: 2,
    ...rest,
  });
  const [all, drawn] = [await tokens.readIndices(), await next.readIndices()];
  for (let row = 0; row < rows; row++) {
    assertEquals([drawn[2 * row], drawn[2 * row + 1]], Array(2).fill(all[3 * row + position]));
  }
  return Array.from({ length: rows }, (_, row) => all[3 * row + position]!);
}

for (const lanes of [1, 16]) {
  gpuTest(`sampleTokens() draws by probability, ${lanes} lanes a row`, async (gpu) => {
    const logits = Float32Array.from([0, 1, -Infinity, 2, 0.5, -3, 2]);
    const seeds = Array.from({ length: 4000 }, (_, i) => i);
    const tokens = await draws(gpu, logits, { seeds, lanes });
    const weights = [...logits].map((value) => Math.exp(value));
    const total = weights.reduce((a, b) => a + b);
    for (const [token, weight] of weights.entries()) {
      const share = tokens.filter((drawn) => drawn === token).length / seeds.length;
      const p = weight / total;
      // Five standard deviations of a binomial share.
      assertEquals(Math.abs(share - p) <= 5 * Math.sqrt(p * (1 - p) / seeds.length), true);
    }
  });

  gpuTest(`sampleTokens() draws only what is kept, ${lanes} lanes a row`, async (gpu) => {
    const logits = hard.subarray(2 * columns, 3 * columns);
    const seeds = Array.from({ length: 300 }, (_, i) => 1000 + i);
    const allowed = kept(logits, { topK: 30, topP: 0.5 });
    const tokens = await draws(gpu, logits, { seeds, topK: 30, topP: 0.5, lanes });
    assertEquals(tokens.filter((token) => !allowed.includes(token)), []);
    assertEquals(new Set(tokens).size > 2, true);
  });

  gpuTest(
    `sampleTokens() takes the first of the greatest if greedy, ${lanes} lanes a row`,
    async (gpu) => {
      const logits = randomNumbers(columns, "greedy");
      logits[123] = logits[211] = 9;
      assertEquals(await draws(gpu, logits, { seeds: [1, 2, 3], greedy: true, lanes }), [
        123,
        123,
        123,
      ]);
    },
  );
}

gpuTest("sampleTokens() depends on seed and position, not on the row", async (gpu) => {
  const logits = new Float32Array(5000);
  const seeds = [7, 2 ** 40 + 7, 8, 7];
  const tokens = await draws(gpu, logits, { seeds });
  assertEquals(tokens[3], tokens[0]);
  assertEquals(new Set(tokens).size, 3);
  assertEquals(await draws(gpu, logits, { seeds: [8] }), [tokens[2]]);
  assertEquals((await draws(gpu, logits, { seeds: [8], position: 2 }))[0] === tokens[2], false);
});

gpuTest("sampling rejects settings out of range", (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const logits = tape.input(new Float32Array(8), [2, 4]);
  assertThrows(() => filterLogits(logits, { topK: -1 }), RangeError, "found -1");
  assertThrows(() => filterLogits(logits, { topP: 1.5 }), RangeError, "found 1.5");
  const seeds = tape.input(seedWords([1, 2]), [2, 2]);
  const tokens = tape.input(new Uint32Array(6), [2, 3]);
  assertThrows(() => sampleTokens(logits, { seeds, tokens, position: 3 }), RangeError, "below 3");
  const copies = tape.input(new Float32Array(8), [2, 1, 4]);
  assertThrows(() => guideLogits(copies, { temperature: 0 }), RangeError, "found 0");
  assertThrows(() => guideLogits(copies, { guidance: 2 }), RangeError, "found 2");
  assertThrows(() => seedWords([-1]), RangeError, "found -1");
});

import { assert, assertEquals, assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest } from "../tests/op_case.ts";
import { argmaxRows } from "./argmax.ts";
import { attentionForward } from "./attention.ts";
import { conv2dWeightGradient } from "./conv2d.ts";
import { scatterRows } from "./embedding.ts";
import { Gpu } from "./gpu.ts";
import { channelMoments } from "./group_norm.ts";
import { MOST_ITERATIONS, requireIterations } from "./loop_limit.ts";
import { matmul } from "./matmul.ts";
import { poolingForward, type PoolingSize } from "./pooling.ts";
import { reduce } from "./reduce.ts";
import { rowNormForward } from "./row_norm.ts";
import { drawTokens, filterLogits } from "./sampling.ts";
import type { Slice } from "./slice.ts";
import { crossEntropyForward } from "./softmax.ts";

const VOCABULARY = 262144;

/** Uploads inputs, runs, reads outputs and gives everything back. */
async function compute<Inputs extends string, Outputs extends string>(
  gpu: Gpu,
  inputs: Record<Inputs, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>,
  outputs: Record<Outputs, number>,
  run: (slices: Record<Inputs | Outputs, Slice>) => void,
): Promise<Record<Outputs, Float32Array>> {
  const slices = {} as Record<Inputs | Outputs, Slice>;
  for (const name in inputs) {
    slices[name] = gpu.acquire(inputs[name].byteLength);
    gpu.upload(slices[name], inputs[name]);
  }
  for (const name in outputs) slices[name] = gpu.acquire(4 * outputs[name]);
  run(slices);
  const found = {} as Record<Outputs, Float32Array>;
  for (const name in outputs) {
    const [bytes] = await gpu.read([slices[name]]);
    found[name] = new Float32Array(bytes!, 0, outputs[name]);
  }
  for (const slice of Object.values<Slice>(slices)) gpu.release(slice);
  return found;
}

function filled(length: number, value: number): Float32Array<ArrayBuffer> {
  return new Float32Array(length).fill(value);
}

/** Two rows of zeros, but for one number 8 near the end of each: columns length − 1 and length − 2. */
function peaks(columns: number): Float32Array<ArrayBuffer> {
  const x = new Float32Array(2 * columns);
  x[columns - 1] = 8;
  x[2 * columns - 2] = 8;
  return x;
}

for (
  const [name, transposeA, transposeB] of [["NN", false, false], ["NT", false, true], [
    "TN",
    true,
    false,
  ]] as const
) {
  gpuTest(`matmul() of ${name} adds 140001 products`, async (gpu) => {
    const inner = 140001;
    const ones = filled(4 * inner, 1);
    const { c } = await compute(
      gpu,
      { a: ones, b: ones, bias: filled(4, 0.5) },
      { c: 16 },
      ({ a, b, bias, c }) =>
        // With a bias the sums are not divided into shares.
        matmul(gpu, {
          a: { slice: a },
          b: { slice: b },
          c: { slice: c },
          bias,
          rows: 4,
          columns: 4,
          inner,
          transposeA,
          transposeB,
        }),
    );
    assertEquals([...c], [...filled(16, inner + 0.5)]);
  });
}

for (
  const [name, kernel, limit] of [["partial sums", 3, undefined], [
    "no room for partial sums",
    61,
    393216,
  ]] as const
) {
  gpuTest(`conv2dWeightGradient() adds 90000 pixels with ${name}`, async () => {
    using gpu = await Gpu.open(limit === undefined ? {} : { maxBindingBytes: limit });
    const ones = filled(300 * 300, 1);
    const pad = (kernel - 1) / 2;
    const { dweight } = await compute(
      gpu,
      { x: ones, dy: ones },
      { dweight: kernel ** 2 },
      (slices) =>
        conv2dWeightGradient(gpu, slices, {
          batch: 1,
          height: 300,
          width: 300,
          inputs: 1,
          outputs: 1,
          kernel: [kernel, kernel],
          stride: 1,
          padding: [pad, pad, pad, pad],
        }),
    );
    assertEquals(dweight[0], (300 - pad) ** 2);
    assertEquals(dweight[(kernel ** 2 - 1) / 2], 90000);
  });
}

gpuTest("reduce() adds 2^20 elements", async (gpu) => {
  const { y } = await compute(
    gpu,
    { a: filled(2 ** 20, 1) },
    { y: 1 },
    ({ a, y }) => reduce(gpu, "sum", { a, y, outer: 1, length: 2 ** 20, inner: 1 }),
  );
  assertEquals(y[0], 2 ** 20);
});

gpuTest("crossEntropyForward() sees the last of 262144 columns", async (gpu) => {
  const shape = { rows: 2, columns: VOCABULARY };
  const { losses } = await compute(
    gpu,
    { x: peaks(VOCABULARY), targets: Uint32Array.of(VOCABULARY - 1, 0) },
    { logSums: 2, losses: 2 },
    (slices) => crossEntropyForward(gpu, shape, slices),
  );
  const total = Math.log(VOCABULARY - 1 + Math.exp(8));
  assertClose(losses, [total - 8, total], REDUCTION, "losses");
});

gpuTest("argmaxRows() sees the last of 262144 columns", async (gpu) => {
  const { y } = await compute(
    gpu,
    { x: peaks(VOCABULARY) },
    { y: 2 },
    (slices) => argmaxRows(gpu, { rows: 2, columns: VOCABULARY }, slices),
  );
  assertEquals([...new Uint32Array(y.buffer, 0, 2)], [VOCABULARY - 1, VOCABULARY - 2]);
});

gpuTest("argmaxRows() sees the last of 128 × 70312 columns", async (gpu) => {
  const columns = 128 * 70312;
  const x = new Float32Array(columns);
  x[columns - 1] = 1;
  const { y } = await compute(
    gpu,
    { x },
    { y: 1 },
    (slices) => argmaxRows(gpu, { rows: 1, columns }, slices),
  );
  assertEquals(new Uint32Array(y.buffer, 0, 1)[0], columns - 1);
});

for (const columns of [16384, VOCABULARY]) {
  gpuTest(`filterLogits() and drawTokens() see the last of ${columns} columns`, async (gpu) => {
    const shape = { rows: 2, columns, topK: 1, topP: 0.9 };
    const { filtered, tokens } = await compute(
      gpu,
      { scores: peaks(columns), seeds: Uint32Array.of(1, 2, 3, 4) },
      { filtered: 2 * columns, tokens: 2, next: 2 },
      ({ scores, seeds, filtered, tokens, next }) => {
        filterLogits(gpu, { ...shape, scores, filtered });
        drawTokens(gpu, {
          ...shape,
          scores,
          seeds,
          tokens,
          next,
          position: 0,
          steps: 1,
          copies: 1,
        });
      },
    );
    const kept = [...filtered.keys()].filter((i) => filtered[i] !== -Infinity);
    assertEquals(kept, [columns - 1, 2 * columns - 2]);
    assertEquals([...new Uint32Array(tokens.buffer, 0, 2)], [columns - 1, columns - 2]);
  });
}

gpuTest("drawTokens() without a filter draws from all of 262144 columns", async (gpu) => {
  const scores = new Float32Array(VOCABULARY);
  scores[VOCABULARY - 1] = 40;
  const { tokens } = await compute(
    gpu,
    { scores, seeds: Uint32Array.of(1, 2) },
    { tokens: 1, next: 1 },
    (slices) =>
      drawTokens(gpu, {
        ...slices,
        rows: 1,
        columns: VOCABULARY,
        topK: 0,
        topP: 1,
        position: 0,
        steps: 1,
        copies: 1,
      }),
  );
  assertEquals(new Uint32Array(tokens.buffer, 0, 1)[0], VOCABULARY - 1);
});

gpuTest("attentionForward() sees the last of 70000 keys", async (gpu) => {
  const keys = 70000;
  const sizes = { batch: 1, queries: 2, keys, heads: 1, kvHeads: 1, headDim: 1 };
  const tokens = (slice: Slice, count: number) => ({ slice, tokens: count });
  // Scores are the keys, and their negatives; values tell the first and the last key apart.
  const key = peaks(keys).subarray(0, keys);
  const value = new Float32Array(keys);
  value[0] = 100;
  value[keys - 1] = 1;
  const { y } = await compute(
    gpu,
    { query: Float32Array.of(1, -1), key: Float32Array.from(key), value },
    { y: 2, logSums: 2 },
    ({ query, key, value, y, logSums }) =>
      attentionForward(gpu, {
        query: tokens(query, 2),
        key: tokens(key, keys),
        value: tokens(value, keys),
        y: tokens(y, 2),
        logSums,
      }, { ...sizes, scale: 1, causal: false, diagonal: 0 }),
  );
  const peak = Math.max(...key);
  const weight = (sign: number, i: number): number => Math.exp(sign * key[i]!);
  const want = [1, -1].map((sign) => {
    const total = key.reduce((sum, _, i) => sum + weight(sign, i), 0);
    return (100 * weight(sign, 0) + weight(sign, keys - 1)) / total;
  });
  assertEquals(peak, 8);
  assertClose(y, want, REDUCTION, "output");
});

gpuTest("rowNormForward() sees the last of 262148 columns", async (gpu) => {
  const width = 262148;
  const x = new Float32Array(2 * width);
  for (let i = 0; i < x.length; i++) x[i] = i % width < width / 2 ? 1 : 7;
  const { y } = await compute(
    gpu,
    { x, weight: filled(width, 1), bias: filled(width, 0) },
    { statistics: 4, y: 2 * width },
    (slices) => rowNormForward(gpu, slices, { rows: 2, width, eps: 0, centered: true }),
  );
  const ends = [y[0]!, y[width - 1]!, y[width]!, y[2 * width - 1]!];
  assertClose(ends, [-1, 1, -1, 1], REDUCTION, "first and last of each row");
});

gpuTest("scatterRows() chains 70000 uses", async (gpu) => {
  const uses = 70000;
  const indices = new Uint32Array(uses).fill(1);
  indices[0] = 0;
  indices[uses - 1] = 0;
  const { dtable } = await compute(
    gpu,
    { indices, dy: filled(uses, 1) },
    { dtable: 3 },
    (slices) => scatterRows(gpu, { rows: 3, columns: 1, uses }, slices),
  );
  assertEquals([...dtable], [2, uses - 2, 0]);
});

for (const kind of ["maximum", "average", "averageWithoutPadding"] as const) {
  gpuTest(`poolingForward() takes the ${kind} of 300×300 positions`, async (gpu) => {
    const extent = { height: 300, width: 300 };
    const x = filled(90000, 1);
    x[89999] = 2;
    const size: PoolingSize = {
      batch: 1,
      channels: 1,
      input: extent,
      output: { height: 1, width: 1 },
      window: { height: 301, width: 302 },
      stride: extent,
      padding: { height: 1, width: 1 },
      kind,
    };
    const { y } = await compute(
      gpu,
      { x },
      { y: 1 },
      (slices) => poolingForward(gpu, slices, size),
    );
    const want = { maximum: 2, average: 90001 / (301 * 302), averageWithoutPadding: 90001 / 90000 };
    assertClose(y, [want[kind]], REDUCTION, kind);
  });
}

gpuTest(
  "channelMoments() rejects a prime number of positions that a software adapter cannot walk",
  async () => {
    using gpu = await Gpu.open();
    gpu.adapter.software = true;
    const x = gpu.acquire(4 * 65537);
    const moments = gpu.acquire(8);
    assertThrows(
      () =>
        channelMoments(gpu, { x, moments }, {
          batch: 1,
          positions: 65537,
          channels: 1,
          groups: 1,
          eps: 0,
        }),
      RangeError,
      "Cannot run group_norm.chunk_moments on a software adapter: expected at most 60000 loop iterations of an invocation, found 131074",
    );
  },
);

gpuTest("requireIterations() binds software adapters only", async () => {
  using gpu = await Gpu.open();
  gpu.adapter.software = false;
  requireIterations(gpu, "a loop", MOST_ITERATIONS + 1);
  gpu.adapter.software = true;
  requireIterations(gpu, "a loop", MOST_ITERATIONS);
  assertThrows(() => requireIterations(gpu, "a loop", MOST_ITERATIONS + 1), RangeError, "a loop");
  assert(MOST_ITERATIONS < 65535);
});

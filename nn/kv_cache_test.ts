import { assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { assertClose, HALF, REDUCTION, type Tolerance } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { attention } from "./attention.ts";
import { cachedAttention, KvCache } from "./kv_cache.ts";
import { reshape } from "./math.ts";
import { rotaryTable, splitHeads } from "./rotary.ts";
import { Tape } from "./tape.ts";

interface Sizes {
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Rows and columns of the grid of tokens. */
  grid: number;
}

const SIZES: Sizes[] = [
  { heads: 2, kvHeads: 2, headDim: 12, grid: 3 },
  { heads: 6, kvHeads: 2, headDim: 4, grid: 3 },
  { heads: 3, kvHeads: 1, headDim: 20, grid: 3 },
  // More tokens than scores are held at a time.
  { heads: 2, kvHeads: 1, headDim: 8, grid: 17 },
];
const BATCH = 3;

/** All tokens one after the other through a cache, and all at once by the ops that train. */
async function bothWays(
  gpu: Gpu,
  { heads, kvHeads, headDim, grid }: Sizes,
  { dtype, form }: { dtype: "f32" | "f16"; form: "lane" | "workgroup" },
): Promise<{ stepwise: number[]; whole: Float32Array }> {
  const tokens = 1 + grid ** 2;
  const columns = (heads + 2 * kvHeads) * headDim;
  const data = randomNumbers(BATCH * tokens * columns, `qkv ${heads}`);
  const shape = [tokens, headDim / 2, 2];
  using tape = new Tape(gpu, { record: false });
  const table = tape.input(rotaryTable({ gridSize: grid, headDim }), shape);
  const qkv = tape.input(data, [BATCH, tokens, columns]);
  const { query, key, value } = splitHeads(qkv, table, { heads, kvHeads });
  const whole = await attention(query, key, value, { causal: true }).read();
  using cache = new KvCache(gpu, { batch: BATCH, tokens, kvHeads, headDim, dtype });
  const width = heads * headDim;
  const stepwise = new Array<number>(BATCH * tokens * width);
  for (let position = 0; position < tokens; position++) {
    const rows = Array.from({ length: BATCH }, (_, image) => {
      const at = (image * tokens + position) * columns;
      return [...data.subarray(at, at + columns)];
    });
    const step = tape.input(Float32Array.from(rows.flat()), [BATCH, 1, columns]);
    const y = await cachedAttention(step, { table, heads, cache, position, form }).read();
    for (let image = 0; image < BATCH; image++) {
      for (let i = 0; i < width; i++) {
        stepwise[(image * tokens + position) * width + i] = y[image * width + i]!;
      }
    }
  }
  return { stepwise, whole };
}

for (const sizes of SIZES) {
  for (const form of ["lane", "workgroup"] as const) {
    const name = `cachedAttention() of ${JSON.stringify(sizes)} by a ${form} a head`;
    gpuTest(`${name}: equals the whole sequence`, async (gpu) => {
      const { stepwise, whole } = await bothWays(gpu, sizes, { dtype: "f32", form });
      assertClose(stepwise, whole, REDUCTION, "values");
      if (sizes.grid > 3) return;
      using limited = await Gpu.open({ maxBindingBytes: 4096 });
      const parts = await bothWays(limited, sizes, { dtype: "f32", form });
      assertClose(parts.stepwise, whole, REDUCTION, "values in parts");
    });

    gpuTest(`${name}: about the same with a cache in f16`, async (gpu) => {
      if (!gpu.features.has("shader-f16")) return;
      const { stepwise, whole } = await bothWays(gpu, sizes, { dtype: "f16", form });
      assertClose(stepwise, whole, ROUNDED_CACHE, "values");
    });
  }
}

/** Keys rounded to f16 move scores of a few units by up to some 2^-10, values are rounded once more. */
const ROUNDED_CACHE: Tolerance = { relative: HALF.relative, absolute: 2 * HALF.absolute };

gpuTest("cachedAttention() rejects recording tapes, full caches and odd heads", (gpu) => {
  using cache = new KvCache(gpu, { batch: 1, tokens: 2, kvHeads: 2, headDim: 4 });
  using tape = new Tape(gpu, { record: false });
  const table = tape.input(new Float32Array(12), [3, 2, 2]);
  const run = (heads: number, position: number) => () =>
    cachedAttention(tape.input(new Float32Array(4 * heads + 16), [1, 1, 4 * heads + 16]), {
      table,
      heads,
      cache,
      position,
    });
  run(2, 0)();
  assertThrows(run(2, 2), RangeError, "at most 2 tokens, found 3");
  assertThrows(run(3, 0), TypeError, "divide evenly among 2, found f32 and 3 heads of 4");
  using recording = new Tape(gpu);
  const qkv = recording.input(new Float32Array(24), [1, 1, 24]);
  assertThrows(
    () => cachedAttention(reshape(qkv, [1, 1, 24]), { table, heads: 2, cache, position: 0 }),
    TypeError,
    "does not record",
  );
});

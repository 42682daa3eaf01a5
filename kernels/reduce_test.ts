import { assert } from "@std/assert";
import { assertClose, EXACT, HALF, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { Gpu } from "./gpu.ts";
import { reduce, type Reduction } from "./reduce.ts";
import { subslice } from "./slice.ts";

const REDUCTIONS: readonly Reduction[] = [
  "sum",
  "sum_squares",
  "sum_products",
];

/** Shapes (outer, length, inner): single elements and packs, one chunk and many, folded with and without a rest. */
const SHAPES = [
  [1, 1, 1],
  [3, 19, 5],
  [2, 300, 8],
  [3, 17, 4],
  [2, 21, 12],
  [5, 1024, 1],
  [1, 20_003, 1],
  [1, 70_000, 4],
  [1, 40_001, 3],
  [8192, 16, 1],
] as const;

function reduceOnHost(
  reduction: Reduction,
  [outer, length, inner]: readonly [number, number, number],
  { a, b }: { a: Float32Array; b: Float32Array },
): number[] {
  const y = new Array<number>(outer * inner).fill(0);
  for (const [i, value] of a.entries()) {
    const row = Math.floor(i / (length * inner));
    const at = row * inner + i % inner;
    if (reduction === "sum") y[at]! += value;
    else if (reduction === "sum_squares") y[at]! += value * value;
    else y[at]! += value * b[i]!;
  }
  return y;
}

/** Runs a reduction over operands that start `shift` bytes into their buffers. */
async function reduceOnGpu(
  gpu: Gpu,
  reduction: Reduction,
  shape: readonly [number, number, number],
  data: { a: Float32Array | Float16Array; b: Float32Array | Float16Array },
  options: { together?: number; shift?: number } = {},
): Promise<Float32Array> {
  const [outer, length, inner] = shape;
  const { together, shift = 0 } = options;
  const upload = (values: Float32Array | Float16Array) => {
    const whole = gpu.acquire(shift + values.byteLength);
    const half = values instanceof Float16Array;
    const slice = { ...subslice(whole, shift, values.byteLength), half };
    gpu.upload(slice, values);
    return slice;
  };
  const a = upload(data.a);
  const b = upload(data.b);
  const y = gpu.acquire(4 * outer * inner);
  const second = reduction === "sum_products" ? { b } : {};
  const order = together === undefined ? {} : { together };
  reduce(gpu, reduction, { a, ...second, y, outer, length, inner, ...order });
  const [bytes] = await gpu.read([y]);
  for (const slice of [a, b, y]) gpu.release(slice);
  return new Float32Array(bytes!);
}

for (const reduction of REDUCTIONS) {
  gpuTest(`reduce() by ${reduction} equals the host, in all orders`, async (gpu) => {
    for (const shape of SHAPES) {
      const [outer, length, inner] = shape;
      const a = randomNumbers(outer * length * inner, `a ${shape}`).map((value) => value - 3);
      const b = randomNumbers(a.length, `b ${shape}`);
      const expected = reduceOnHost(reduction, shape, { a, b });
      for (const together of [1, 8, Infinity]) {
        for (const shift of [0, 4]) {
          const found = await reduceOnGpu(gpu, reduction, shape, { a, b }, { together, shift });
          assertClose(found, expected, REDUCTION, `${shape}, ${together}, ${shift}`);
        }
      }
    }
  });

  gpuTest(`reduce() by ${reduction} reads textures`, async () => {
    using textured = await Gpu.open({ leastTexelBytes: 0 });
    const shape = [3, 401, 8] as const;
    const a = randomNumbers(3 * 401 * 8, "a");
    const b = randomNumbers(a.length, "b");
    const expected = reduceOnHost(reduction, shape, { a, b });
    const found = await reduceOnGpu(textured, reduction, shape, { a, b });
    assertClose(found, expected, REDUCTION, "values");
    assert(textured.stats().copiedBytes > a.byteLength, "a copy into a texture");
  });

  gpuTest(`reduce() by ${reduction} of f16 equals f32`, async (gpu) => {
    if (!gpu.features.has("shader-f16")) return;
    const shape = [3, 401, 4] as const;
    const a = Float16Array.from(randomNumbers(3 * 401 * 4, "a"));
    const b = Float16Array.from(randomNumbers(a.length, "b"));
    const expected = reduceOnHost(reduction, shape, {
      a: Float32Array.from(a),
      b: Float32Array.from(b),
    });
    const found = await reduceOnGpu(gpu, reduction, shape, { a, b });
    assertClose(found, expected, HALF, "values");
  });
}

gpuTest("reduce() splits what few bytes of a binding hold", async () => {
  using gpu = await Gpu.open({ maxBindingBytes: 64 });
  const a = randomNumbers(515, "a");
  const b = randomNumbers(515, "b");
  for (const shape of [[1, 515, 1], [5, 103, 1]] as const) {
    const expected = reduceOnHost("sum_products", shape, { a, b });
    const found = await reduceOnGpu(gpu, "sum_products", shape, { a, b });
    assertClose(found, expected, REDUCTION, `${shape}`);
  }
});

gpuTest("reduce() of an axis longer than a cache holds equals the host", async (gpu) => {
  // Integers, whose sum is exact in any order.
  const a = Float32Array.from({ length: 2 ** 21 + 2060 }, (_, i) => i % 7 - 3);
  const shape = [1, a.length, 1] as const;
  const found = await reduceOnGpu(gpu, "sum_squares", shape, { a, b: a });
  assertClose(found, reduceOnHost("sum_squares", shape, { a, b: a }), EXACT, `${shape}`);
});

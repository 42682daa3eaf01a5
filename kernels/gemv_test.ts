import { assertEquals } from "@std/assert";
import { assertClose, REDUCTION, type Tolerance } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { gemv, servesGemv } from "./gemv.ts";
import { Gpu } from "./gpu.ts";
import type { Slice } from "./slice.ts";

interface Sizes {
  rows: number;
  inputs: number;
  outputs: number;
}

/** Rows of every register kernel and two dispatches of rows; inputs of one and of several slices; outputs around a workgroup's. */
const SIZES: Sizes[] = [
  { rows: 1, inputs: 64, outputs: 1 },
  { rows: 1, inputs: 1152, outputs: 130 },
  { rows: 2, inputs: 192, outputs: 257 },
  { rows: 2, inputs: 704, outputs: 5 },
  { rows: 3, inputs: 128, outputs: 67 },
  { rows: 4, inputs: 320, outputs: 12 },
  { rows: 7, inputs: 64, outputs: 9 },
];

const VARIANTS = ["windows", "registers", "texels", "workgroup"] as const;

interface Data {
  x: Float32Array;
  weight: Float32Array;
  pair: Float32Array;
  bias: Float32Array;
  gate: Float32Array;
  residual: Float32Array;
  norm: Float32Array;
  scale: Float32Array;
  shift: Float32Array;
}

/** What a product does beside multiplying. */
interface Additions {
  biased?: boolean;
  paired?: boolean;
  gated?: boolean;
  normed?: boolean;
}

/** Of the norm. */
const EPS = 0.01;

function dataOf({ rows, inputs, outputs }: Sizes): Data {
  // Rounded to f16, so that both types hold the same numbers; and some that an f16 holds without its leading bit.
  const weights = (name: string): Float32Array =>
    Float32Array.from(
      Float16Array.from(
        randomNumbers(outputs * inputs, name),
        (value, i) => i % 11 === 0 ? value * 2 ** -20 : value / Math.sqrt(inputs),
      ),
    );
  return {
    x: randomNumbers(rows * inputs, "x"),
    weight: weights("weight"),
    pair: weights("pair"),
    bias: randomNumbers(outputs, "bias"),
    gate: randomNumbers(rows * outputs, "gate"),
    residual: randomNumbers(rows * outputs, "residual"),
    norm: randomNumbers(inputs, "norm"),
    scale: randomNumbers(rows * inputs, "scale"),
    shift: randomNumbers(rows * inputs, "shift"),
  };
}

function reference(
  { rows, inputs, outputs }: Sizes,
  data: Data,
  { biased, paired, gated, normed }: Additions,
): Float64Array {
  const x = Float64Array.from(data.x);
  for (let row = 0; normed && row < rows; row++) {
    const part = x.subarray(row * inputs, (row + 1) * inputs);
    const factor = (part.reduce((sum, value) => sum + value ** 2, 0) / inputs + EPS) ** -0.5;
    for (const [k, value] of part.entries()) {
      const at = row * inputs + k;
      part[k] = value * factor * data.norm[k]! * (1 + data.scale[at]!) + data.shift[at]!;
    }
  }
  const dot = (weight: Float32Array, row: number, output: number): number => {
    let sum = 0;
    for (let k = 0; k < inputs; k++) {
      sum += x[row * inputs + k]! * weight[output * inputs + k]!;
    }
    return sum;
  };
  const y = new Float64Array(rows * outputs);
  for (let at = 0; at < y.length; at++) {
    const row = Math.floor(at / outputs);
    const output = at % outputs;
    let value = dot(data.weight, row, output);
    if (paired) value *= dot(data.pair, row, output) / (1 + Math.exp(-value));
    if (biased) value += data.bias[output]!;
    y[at] = gated ? data.residual[at]! + data.gate[at]! * value : value;
  }
  return y;
}

async function product(
  gpu: Gpu,
  sizes: Sizes,
  data: Data,
  options: { variant?: typeof VARIANTS[number]; half: boolean } & Additions,
): Promise<Float32Array> {
  const { half, biased, paired, gated, normed, variant } = options;
  const upload = (values: Float32Array | Float16Array): Slice => {
    const slice = gpu.acquire(values.byteLength);
    gpu.upload(slice, values);
    return slice;
  };
  const texels = variant === "texels";
  const buffers: Slice[] = [];
  const uploadWeights = (values: Float32Array): Slice => {
    const slice = upload(half ? Float16Array.from(values) : values);
    if (texels) buffers.push(slice);
    return { ...texels ? gpu.copyToTexels(slice) : slice, half };
  };
  const x = upload(data.x);
  const weight = uploadWeights(data.weight);
  const pair = uploadWeights(data.pair);
  const bias = upload(data.bias);
  const gate = upload(data.gate);
  const residual = upload(data.residual);
  const norm = { weight: upload(data.norm), scale: upload(data.scale), shift: upload(data.shift) };
  const y = upload(new Float32Array(sizes.rows * sizes.outputs).fill(NaN));
  const operands = {
    ...sizes,
    x,
    weight,
    y,
    ...biased ? { bias } : {},
    ...paired ? { pair } : {},
    ...gated ? { gated: { gate, residual } } : {},
    ...normed ? { norm: { ...norm, eps: EPS } } : {},
    ...variant && !texels ? { variant } : {},
  };
  assertEquals(servesGemv(gpu, operands), true);
  gemv(gpu, operands);
  const [bytes] = await gpu.read([y]);
  const operandsOf = [x, weight, pair, bias, gate, residual, y, ...Object.values(norm)];
  for (const slice of [...operandsOf, ...buffers]) gpu.release(slice);
  return new Float32Array(bytes!);
}

for (const variant of VARIANTS) {
  for (const half of [false, true]) {
    gpuTest(
      `gemv() in ${variant} with weights in ${half ? "f16" : "f32"}: equals the reference`,
      async (gpu) => {
        if (half && !gpu.features.has("shader-f16")) return;
        using limited = await Gpu.open({ maxBindingBytes: 2 ** 14 });
        for (const [i, sizes] of SIZES.entries()) {
          const data = dataOf(sizes);
          const additions = { biased: i % 2 === 0, paired: i % 3 === 1, gated: i % 4 > 1 };
          const expected = reference(sizes, data, additions);
          const what = JSON.stringify(sizes);
          const options = { variant, half, ...additions };
          assertClose(await product(gpu, sizes, data, options), expected, REDUCTION, what);
          if (sizes.inputs > 1000) continue;
          const parts = await product(limited, sizes, data, options);
          assertClose(parts, expected, REDUCTION, `${what} in parts`);
        }
      },
    );
  }
}

for (const variant of VARIANTS) {
  gpuTest(
    `gemv() in ${variant}: a row's product does not depend on the other rows`,
    async (gpu) => {
      const sizes = { rows: 7, inputs: 1152, outputs: 3 };
      const data = dataOf(sizes);
      const options = { variant, half: false, biased: true, paired: true, gated: true };
      const together = await product(gpu, sizes, data, options);
      for (const rows of [1, 2, 3]) {
        const few = { ...data, x: data.x.slice(0, rows * sizes.inputs) };
        const y = await product(gpu, { ...sizes, rows }, few, options);
        assertEquals(y, together.slice(0, rows * sizes.outputs));
      }
    },
  );
}

gpuTest(
  "gemv() in texels: rows that it normalizes, and lanes that wait for each other",
  async (gpu) => {
    using waiting = await Gpu.open({ withoutFeatures: ["subgroups"] });
    for (const half of gpu.features.has("shader-f16") ? [false, true] : [false]) {
      for (const [i, sizes] of SIZES.entries()) {
        const data = dataOf(sizes);
        const additions = { paired: i % 2 === 0, gated: i % 3 === 1, normed: i !== 3 };
        const expected = reference(sizes, data, additions);
        const options = { variant: "texels", half, ...additions } as const;
        for (const device of [gpu, waiting]) {
          if (half && !device.features.has("shader-f16")) continue;
          const y = await product(device, sizes, data, options);
          assertClose(y, expected, NORMED_SUM, `${JSON.stringify(sizes)}, half ${half}`);
        }
      }
    }
  },
);

/** Modulated rows have numbers of up to ten, whose products' sums round accordingly. */
const NORMED_SUM: Tolerance = { relative: REDUCTION.relative, absolute: 10 * REDUCTION.absolute };

/** Sums of products up to 65504 in f32 round to parts of the greatest of them. */
const LARGE: Tolerance = { relative: 1e-6, absolute: 0.05 };

gpuTest(
  "gemv() takes the greatest and the smallest f16 weights, and infinite ones",
  async (gpu) => {
    if (!gpu.features.has("shader-f16")) return;
    const sizes = { rows: 2, inputs: 64, outputs: 3 };
    const data = dataOf(sizes);
    data.x.fill(1);
    data.weight.set([65504, -65504, 2 ** -24, -(2 ** -24), 0, 1, -1, 6.1e-5]);
    data.weight.set([Infinity], 64);
    const expected = reference(sizes, data, {});
    for (const variant of VARIANTS) {
      const y = await product(gpu, sizes, data, { variant, half: true });
      assertEquals([y[1], y[4]], [Infinity, Infinity]);
      assertClose(
        [y[0]!, y[2]!, y[3]!],
        [expected[0]!, expected[2]!, expected[3]!],
        LARGE,
        variant,
      );
    }
  },
);

gpuTest("gemv() in texels: outputs with and without large f16 weights", async (gpu) => {
  if (!gpu.features.has("shader-f16")) return;
  for (
    const [inputs, outputs, paired] of [[64, 400, false], [64, 300, true], [
      1088,
      333,
      false,
    ]] as const
  ) {
    const sizes = { rows: 3, inputs, outputs };
    const data = dataOf(sizes);
    // In few chunks of outputs, and in one lane.
    data.weight[3 * inputs + 5] = 2;
    data.weight[(outputs - 1) * inputs + 9] = -40000;
    data.pair[200 * inputs] = 3;
    const expected = reference(sizes, data, { paired });
    const y = await product(gpu, sizes, data, { variant: "texels", half: true, paired });
    assertClose(y, expected, LARGE, `${inputs} inputs`);
    data.weight[4 * inputs + 1] = Infinity;
    data.weight[5 * inputs + 8] = NaN;
    data.x.fill(1, 0, inputs);
    const special = await product(gpu, sizes, data, { variant: "texels", half: true });
    assertEquals([special[4], special[5]], [Infinity, NaN]);
  }
});

gpuTest("servesGemv() leaves many rows, odd inputs and f16 rows to tiles", (gpu) => {
  const slice = gpu.acquire(2 ** 16);
  const operands = { x: slice, weight: slice, y: slice, rows: 2, inputs: 64, outputs: 4 };
  assertEquals(servesGemv(gpu, operands), true);
  assertEquals(servesGemv(gpu, { ...operands, rows: 9 }), false);
  assertEquals(servesGemv(gpu, { ...operands, inputs: 66 }), false);
  assertEquals(servesGemv(gpu, { ...operands, x: { ...slice, half: true } }), false);
  gpu.release(slice);
});

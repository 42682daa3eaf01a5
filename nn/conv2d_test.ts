import { assertEquals, assertThrows } from "@std/assert";
import { REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase } from "../tests/op_case.ts";
import { Conv2d, conv2d, type Conv2dOptions } from "./conv2d.ts";
import { ModuleContext } from "./module.ts";
import { Tape } from "./tape.ts";

interface Sizes {
  x: readonly [batch: number, height: number, width: number, inputs: number];
  kernel: readonly [height: number, width: number];
  outputs: number;
  stride?: number;
  padding?: readonly [top: number, bottom: number, left: number, right: number];
}

function hostConv2d(
  { x: [batch, height, width, inputs], kernel, outputs, stride = 1, padding = [0, 0, 0, 0] }: Sizes,
  { x, weight, bias }: Record<string, number[]>,
): number[] {
  const [top, bottom, left, right] = padding;
  const outHeight = Math.floor((height + top + bottom - kernel[0]) / stride) + 1;
  const outWidth = Math.floor((width + left + right - kernel[1]) / stride) + 1;
  const y: number[] = [];
  for (let n = 0; n < batch; n++) {
    for (let i = 0; i < outHeight; i++) {
      for (let j = 0; j < outWidth; j++) {
        for (let o = 0; o < outputs; o++) {
          let sum = bias![o]!;
          for (let ky = 0; ky < kernel[0]; ky++) {
            const row = i * stride + ky - top;
            if (row < 0 || row >= height) continue;
            for (let kx = 0; kx < kernel[1]; kx++) {
              const column = j * stride + kx - left;
              if (column < 0 || column >= width) continue;
              for (let c = 0; c < inputs; c++) {
                sum += x![((n * height + row) * width + column) * inputs + c]! *
                  weight![((ky * kernel[1] + kx) * inputs + c) * outputs + o]!;
              }
            }
          }
          y.push(sum);
        }
      }
    }
  }
  return y;
}

function convCase(name: string, sizes: Sizes, extra: Partial<OpCase> = {}): OpCase {
  const { x, kernel, outputs, stride = 1, padding = [0, 0, 0, 0] } = sizes;
  const fanIn = kernel[0] * kernel[1] * x[3];
  return {
    name,
    inputs: {
      x: { shape: x, scale: 1 / 16 },
      weight: { shape: [...kernel, x[3], outputs], scale: 1 / Math.sqrt(fanIn) },
      bias: { shape: [outputs] },
    },
    run: ({ x, weight, bias }) => conv2d(x!, { weight: weight!, bias }, { stride, padding }),
    reference: (inputs) => hostConv2d(sizes, inputs),
    close: REDUCTION,
    ...extra,
  };
}

/** The same case with a residual. */
function withResidual(testCase: OpCase, shape: readonly number[], options: Conv2dOptions): OpCase {
  return {
    ...testCase,
    inputs: { ...testCase.inputs, residual: { shape } },
    run: ({ x, weight, bias, residual }) =>
      conv2d(x!, { weight: weight!, bias }, { ...options, residual }),
    reference: (inputs) =>
      Array.from(testCase.reference!(inputs), (value, i) => value + inputs.residual![i]!),
  };
}

const SAME = [1, 1, 1, 1] as const;

checkOp("conv2d()", [
  convCase("3x3", { x: [2, 8, 8, 8], kernel: [3, 3], outputs: 16, padding: SAME }),
  convCase("3x3 of sizes that no tile divides", {
    x: [2, 9, 11, 5],
    kernel: [3, 3],
    outputs: 7,
    padding: SAME,
  }),
  convCase("3x3 of one pixel", { x: [1, 1, 1, 4], kernel: [3, 3], outputs: 4, padding: SAME }),
  convCase("3x3 from 3 channels", { x: [1, 6, 10, 3], kernel: [3, 3], outputs: 20, padding: SAME }),
  convCase("3x3 to 3 channels", { x: [1, 6, 10, 20], kernel: [3, 3], outputs: 3, padding: SAME }),
  convCase("3x3 of 36 to 40 channels", {
    x: [1, 5, 6, 36],
    kernel: [3, 3],
    outputs: 40,
    padding: SAME,
  }),
  convCase("3x3 with stride 2, padded at the end", {
    x: [2, 8, 8, 8],
    kernel: [3, 3],
    outputs: 8,
    stride: 2,
    padding: [0, 1, 0, 1],
  }),
  convCase("3x3 with stride 2 of odd sizes", {
    x: [1, 9, 11, 6],
    kernel: [3, 3],
    outputs: 5,
    stride: 2,
    padding: [0, 1, 0, 1],
  }),
  convCase("4x4 with stride 2", {
    x: [2, 10, 12, 3],
    kernel: [4, 4],
    outputs: 16,
    stride: 2,
    padding: SAME,
  }),
  convCase("4x4 to one output", { x: [2, 5, 5, 16], kernel: [4, 4], outputs: 1, padding: SAME }),
  convCase("1x1", { x: [2, 5, 6, 12], kernel: [1, 1], outputs: 20 }),
  convCase("1x1 with stride 3", { x: [1, 7, 8, 4], kernel: [1, 1], outputs: 8, stride: 3 }),
  convCase("1x7", { x: [1, 8, 9, 6], kernel: [1, 7], outputs: 5, padding: [0, 0, 3, 3] }),
  convCase("2x3 with stride 3 and wide padding", {
    x: [1, 7, 8, 4],
    kernel: [2, 3],
    outputs: 4,
    stride: 3,
    padding: [2, 4, 3, 1],
  }),
  convCase("of images in ranges", {
    x: [5, 9, 8, 8],
    kernel: [3, 3],
    outputs: 12,
    padding: SAME,
  }, { bindingLimit: 8192 }),
  convCase("of lines in ranges", {
    x: [2, 18, 16, 20],
    kernel: [3, 3],
    outputs: 8,
    stride: 2,
    padding: [0, 1, 0, 1],
  }, { bindingLimit: 8192 }),
  withResidual(
    convCase("3x3 and a residual in ranges", {
      x: [3, 9, 8, 8],
      kernel: [3, 3],
      outputs: 12,
      padding: SAME,
    }, { bindingLimit: 8192 }),
    [3, 9, 8, 12],
    { padding: 1 },
  ),
  withResidual(
    convCase("1x1 and a residual of odd channels", { x: [1, 5, 6, 5], kernel: [1, 1], outputs: 7 }),
    [1, 5, 6, 7],
    {},
  ),
  withResidual(
    convCase(
      "3x3 and a residual of half precision",
      { x: [2, 5, 6, 8], kernel: [3, 3], outputs: 8, padding: SAME },
      { half: ["x", "residual", "weight"] },
    ),
    [2, 5, 6, 8],
    { padding: 1 },
  ),
  convCase("3x3 of odd channels and half precision", {
    x: [2, 5, 6, 5],
    kernel: [3, 3],
    outputs: 7,
    padding: SAME,
  }, { half: ["x"] }),
  {
    name: "without bias",
    inputs: { x: { shape: [1, 5, 5, 4] }, weight: { shape: [3, 3, 4, 4] } },
    run: ({ x, weight }) => conv2d(x!, { weight: weight! }),
  },
]);

gpuTest("conv2d() rejects kernels larger than the padded input", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(4), [1, 2, 2, 1]);
  const weight = tape.input(new Float32Array(16), [4, 4, 1, 1]);
  assertThrows(() => conv2d(x, { weight }), RangeError, "expected an input of at least 4x4 pixels");
  assertThrows(() => conv2d(x, { weight }, { stride: 0 }), RangeError, "found 0");
});

gpuTest("Conv2d keeps its weight as HWIO and in files as OIHW", async (gpu) => {
  using layer = new Conv2d(new ModuleContext(gpu, 1), { inputs: 4, outputs: 8, kernel: [2, 8] });
  assertEquals(layer.weight.shape, [2, 8, 4, 8]);
  assertEquals(layer.weight.filePermutation, [2, 3, 1, 0]);
  const values = await layer.weight.read();
  assertEquals(values.every((value) => Math.abs(value) <= 0.125), true);
  assertEquals(values.some((value) => Math.abs(value) > 0.1), true);
});

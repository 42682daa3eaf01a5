import { assertEquals, assertThrows } from "@std/assert";
import { type RowForm, rowNormForward, rowNormInputGradient } from "../kernels/row_norm.ts";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import { ModuleContext } from "./module.ts";
import { LayerNorm, layerNorm, RmsNorm, rmsNorm } from "./row_norm.ts";
import { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

function reference(
  inputs: Record<string, number[]>,
  width: number,
  centered: boolean,
): number[] {
  const { x, weight, bias } = inputs;
  return x!.map((value, i) => {
    const row = x!.slice(i - i % width, i - i % width + width);
    const mean = centered ? row.reduce((sum, v) => sum + v, 0) / width : 0;
    const square = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / width;
    const column = i % width;
    return (value - mean) / Math.sqrt(square + 1e-5) * weight![column]! + (bias?.[column] ?? 0);
  });
}

function layerCase(name: string, shape: number[], extra: Partial<OpCase> = {}): OpCase {
  const width = shape.at(-1)!;
  return {
    name,
    inputs: {
      x: { shape, offset: 0.5 },
      weight: { shape: [width], offset: 1, scale: 0.3 },
      bias: { shape: [width] },
    },
    run: ({ x, weight, bias }) => layerNorm(x!, { weight: weight!, bias: bias! }),
    reference: (inputs) => reference(inputs, width, true),
    close: REDUCTION,
    ...extra,
  };
}

function rmsCase(name: string, shape: number[], extra: Partial<OpCase> = {}): OpCase {
  const width = shape.at(-1)!;
  return {
    name,
    inputs: { x: { shape, offset: 0.5 }, weight: { shape: [width], offset: 1, scale: 0.3 } },
    run: ({ x, weight }) => rmsNorm(x!, weight!),
    reference: (inputs) => reference(inputs, width, false),
    close: REDUCTION,
    ...extra,
  };
}

checkOp("layerNorm()", [
  layerCase("of three axes", [2, 5, 32]),
  layerCase("of rows that are no multiple of four, ranged", [37, 7], { bindingLimit: 512 }),
  layerCase("of one row", [12]),
]);

checkOp("rmsNorm()", [
  rmsCase("of three axes", [2, 5, 32]),
  rmsCase("of rows that are no multiple of four, ranged", [37, 7], { bindingLimit: 512 }),
  rmsCase("of one row", [300]),
]);

gpuTest("rowNorm kernels give the same with one lane and with a workgroup a row", async (gpu) => {
  for (const [rows, width] of [[5, 36], [3, 131], [1, 1]] as const) {
    for (const centered of [true, false]) {
      using tape = new Tape(gpu);
      const input = (name: string, shape: number[]): Tensor =>
        tape.input(randomNumbers(shape.reduce((a, b) => a * b), name), shape);
      const x = input("x", [rows, width]);
      const dy = input("dy", [rows, width]);
      const weight = input("weight", [width]);
      const bias = input("bias", [width]);
      const results = new Map<RowForm, Float32Array[]>();
      for (const form of ["lane", "workgroup"] as const) {
        const [y, dx, statistics] = [
          tape.alloc(x.shape),
          tape.alloc(x.shape),
          tape.alloc([rows, 2]),
        ];
        const size = { rows, width, eps: 1e-5, centered, form };
        const shared = { x: x.storage, weight: weight.storage, statistics: statistics.storage };
        rowNormForward(gpu, { ...shared, bias: bias.storage, y: y.storage }, size);
        rowNormInputGradient(gpu, { ...shared, dy: dy.storage, dx: dx.storage }, size);
        results.set(form, [await y.read(), await dx.read()]);
      }
      for (const i of [0, 1]) {
        assertClose(
          results.get("workgroup")![i]!,
          results.get("lane")![i]!,
          REDUCTION,
          `${["y", "dx"][i]} of ${rows} rows of ${width}`,
        );
      }
    }
  }
});

gpuTest("layerNorm() rejects a bias of another length", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(6), [1, 6]);
  const bias = tape.input(new Float32Array(5), [5]);
  assertThrows(
    () => layerNorm(x, { weight: tape.view(x, [6]), bias }),
    TypeError,
    "Cannot use layerNorm() bias: expected shape [6], found [5]",
  );
});

gpuTest(
  "LayerNorm and RmsNorm use the reference's names and start as the identity",
  async (gpu) => {
    const context = new ModuleContext(gpu, 0);
    using layer = new LayerNorm(context, { width: 4 });
    using rms = new RmsNorm(context, { width: 4, eps: 0 });
    assertEquals([...layer.namedParameters()].map(([name]) => name), ["weight", "bias"]);
    assertEquals([...rms.namedParameters()].map(([name]) => name), ["weight"]);
    using tape = new Tape(gpu);
    const x = tape.input(new Float32Array([1, -1, 1, -1]), [1, 4]);
    assertEquals([...await rms.forward(x).read()], [1, -1, 1, -1]);
    assertClose(await layer.forward(x).read(), [1, -1, 1, -1], REDUCTION, "layer norm");
  },
);

import { assertEquals, assertThrows } from "@std/assert";
import { type RowForm, rowNormForward, rowNormInputGradient } from "../kernels/row_norm.ts";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import { ModuleContext } from "./module.ts";
import { modulate } from "./broadcast.ts";
import { LayerNorm, layerNorm, modulatedRmsNorm, RmsNorm, rmsNorm } from "./row_norm.ts";
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
  layerCase("of three axes", [2, 5, 32], { half: ["x"] }),
  layerCase("of rows that are no multiple of four, ranged", [37, 7], { bindingLimit: 512 }),
  layerCase("of rows of vectors, ranged", [37, 12], { bindingLimit: 1024 }),
  layerCase("of one row", [12]),
]);

/** x (3, tokens, width) with a scale and a shift an image. */
function modulatedCase(name: string, shape: number[], extra: Partial<OpCase> = {}): OpCase {
  const [images, tokens, width] = shape as [number, number, number];
  const vector = { shape: [images, width] };
  return {
    name,
    inputs: {
      x: { shape, offset: 0.5 },
      weight: { shape: [width], offset: 1, scale: 0.3 },
      scale: vector,
      shift: vector,
    },
    run: ({ x, weight, scale, shift }) =>
      modulatedRmsNorm(x!, weight!, { scale: scale!, shift: shift! }),
    reference: (inputs) =>
      reference(inputs, width, false).map((value, i) => {
        const at = Math.floor(i / (tokens * width)) * width + i % width;
        return value * (1 + inputs.scale![at]!) + inputs.shift![at]!;
      }),
    close: REDUCTION,
    half: ["x", "scale", "shift"],
    ...extra,
  };
}

checkOp("modulatedRmsNorm()", [
  modulatedCase("of rows of a multiple of sixteen", [3, 5, 32]),
  modulatedCase("in ranges of whole images", [3, 8, 16], { bindingLimit: 1024 }),
  modulatedCase("of rows that are no multiple of four", [2, 19, 7]),
  modulatedCase("of rows of nineteen packs", [2, 2, 76]),
  modulatedCase("of one image", [1, 11, 12]),
  modulatedCase("of one token", [5, 1, 8]),
  {
    ...modulatedCase("of zeros", [2, 3, 8]),
    inputs: {
      ...modulatedCase("of zeros", [2, 3, 8]).inputs,
      x: { shape: [2, 3, 8], values: new Float32Array(48) },
    },
    wrt: [],
  },
]);

gpuTest("modulatedRmsNorm() equals rmsNorm() and modulate(), in both forms", async (gpu) => {
  using tape = new Tape(gpu);
  const [images, tokens, width] = [3, 6, 20];
  const input = (name: string, shape: number[]): Tensor =>
    tape.input(randomNumbers(shape.reduce((a, b) => a * b), name), shape);
  const x = input("x", [images, tokens, width]);
  const weight = input("weight", [width]);
  const [scale, shift] = [input("scale", [images, 1, width]), input("shift", [images, 1, width])];
  const gradient = input("gradient", [images, tokens, width]);
  const fused = modulatedRmsNorm(x, weight, { scale, shift });
  const plain = modulate(rmsNorm(x, weight), { scale, shift });
  assertClose(await fused.read(), await plain.read(), REDUCTION, "values");
  const wrt = [x, weight, scale, shift];
  const found = tape.grad(fused, wrt, { gradient });
  const expected = tape.grad(plain, wrt, { gradient });
  for (const [i, of] of wrt.entries()) {
    assertClose(
      await found.get(of)!.read(),
      await expected.get(of)!.read(),
      REDUCTION,
      `gradient ${i}`,
    );
  }
  const y = tape.alloc(x.shape);
  const statistics = tape.alloc([images * tokens, 2]);
  for (const form of ["lane", "workgroup"] as const) {
    rowNormForward(gpu, {
      x: x.storage,
      weight: weight.storage,
      bias: undefined,
      statistics: statistics.storage,
      y: y.storage,
      modulation: { scale: scale.storage, shift: shift.storage },
    }, { rows: images * tokens, width, eps: 1e-5, centered: false, images, form });
    assertClose(await y.read(), await plain.read(), REDUCTION, form);
  }
});

gpuTest("modulatedRmsNorm() rejects vectors of another shape", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(24), [2, 3, 4]);
  const weight = tape.input(new Float32Array(4), [4]);
  const vector = (...shape: number[]): Tensor =>
    tape.input(new Float32Array(shape.reduce((a, b) => a * b)), shape);
  const run = (scale: Tensor, shift: Tensor): Tensor =>
    modulatedRmsNorm(x, weight, { scale, shift });
  assertThrows(() => run(vector(4), vector(4)), TypeError, "expected shape [2,4], found [4]");
  assertThrows(() => run(vector(2, 4), vector(2, 1, 4)), TypeError, "shift");
  assertThrows(
    () => modulatedRmsNorm(weight, weight, { scale: weight, shift: weight }),
    TypeError,
    "(batch, …, channels), found [4]",
  );
});

checkOp("rmsNorm()", [
  rmsCase("of rows that registers hold, in ranges", [131, 96], {
    half: ["x"],
    bindingLimit: 2 ** 14,
  }),
  rmsCase("of rows of nine packs a lane", [3, 288]),
  rmsCase("of three axes", [2, 5, 32], { half: ["x"] }),
  rmsCase("of rows that are no multiple of four, ranged", [37, 7], { bindingLimit: 512 }),
  rmsCase("of rows of vectors, ranged", [37, 12], { bindingLimit: 1024 }),
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

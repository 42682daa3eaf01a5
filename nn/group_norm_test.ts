import { assertEquals, assertThrows } from "@std/assert";
import { chunkRows } from "../kernels/chunk_sums.ts";
import { assertClose, ELEMENTWISE, REDUCTION } from "../tests/close.ts";
import { type CaseInput, checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import { silu } from "./activation.ts";
import { GroupNorm, groupNorm, type GroupNormOptions } from "./group_norm.ts";
import { ModuleContext } from "./module.ts";
import { Tape } from "./tape.ts";

interface Sizes {
  batch: number;
  positions: number;
  channels: number;
}

function reference(
  inputs: Record<string, number[]>,
  sizes: Sizes,
  options: GroupNormOptions,
): number[] {
  const { x, weight, bias } = inputs;
  const { batch, positions, channels } = sizes;
  const { groups, eps = 1e-6, swish = false } = options;
  const y = new Array<number>(x!.length);
  const width = channels / groups;
  for (let image = 0; image < batch; image++) {
    for (let group = 0; group < groups; group++) {
      const at: number[] = [];
      for (let position = 0; position < positions; position++) {
        for (let c = group * width; c < (group + 1) * width; c++) {
          at.push((image * positions + position) * channels + c);
        }
      }
      const mean = at.reduce((sum, i) => sum + x![i]!, 0) / at.length;
      const variance = at.reduce((sum, i) => sum + (x![i]! - mean) ** 2, 0) / at.length;
      for (const i of at) {
        const c = i % channels;
        const u = (x![i]! - mean) / Math.sqrt(variance + eps) * weight![c]! + bias![c]!;
        y[i] = swish ? u / (1 + Math.exp(-u)) : u;
      }
    }
  }
  return y;
}

function groupNormCase(
  name: string,
  shape: [number, number, number, number],
  options: GroupNormOptions,
  extra: Partial<OpCase> & { x?: Partial<CaseInput> } = {},
): OpCase {
  const [batch, height, width, channels] = shape;
  const { x, ...rest } = extra;
  return {
    name,
    inputs: {
      x: { shape, ...x },
      weight: { shape: [channels], offset: 1, scale: 0.3 },
      bias: { shape: [channels], scale: 0.5 },
    },
    run: ({ x, weight, bias }) => groupNorm(x!, { weight: weight!, bias: bias! }, options),
    reference: (inputs) =>
      reference(inputs, { batch, positions: height * width, channels }, options),
    close: REDUCTION,
    ...rest,
  };
}

checkOp("groupNorm()", [
  groupNormCase("of channels that are no multiple of four", [2, 5, 7, 9], { groups: 3 }, {
    half: ["x"],
  }),
  groupNormCase("of vec4 channels in groups that are not", [2, 3, 5, 24], { groups: 8 }),
  groupNormCase("of one channel a group, ranged", [3, 4, 4, 32], { groups: 32 }, {
    bindingLimit: 2048,
  }),
  groupNormCase("of one group, of a prime number of positions", [2, 1, 13, 6], {
    groups: 1,
    eps: 1e-5,
  }),
  groupNormCase("of one pixel", [1, 1, 1, 4], { groups: 2, eps: 0.1 }),
  groupNormCase("with swish", [2, 6, 5, 16], { groups: 4, swish: true }, {
    half: ["x"],
  }),
  groupNormCase("with swish, of vectors, ranged", [2, 4, 9, 8], { groups: 2, swish: true }, {
    bindingLimit: 1024,
  }),
  groupNormCase("with swish, scalar, ranged", [2, 4, 9, 6], { groups: 2, swish: true }, {
    bindingLimit: 1024,
  }),
  groupNormCase("of a mean a hundred times the deviation", [1, 1, 1021, 4], { groups: 2 }, {
    x: { offset: 100 },
    wrt: [],
  }),
  groupNormCase("of a first pixel far from the others", [1, 5, 7, 8], { groups: 2 }, {
    x: { values: randomNumbers(280, "far").map((value, i) => i < 8 ? 1e3 : value) },
    wrt: [],
  }),
  groupNormCase("with swish of large values", [1, 4, 4, 4], { groups: 1, swish: true }, {
    x: { values: Array.from({ length: 64 }, (_, i) => i === 0 ? 1e6 : i === 1 ? -1e6 : 0) },
    wrt: [],
  }),
]);

gpuTest("groupNorm() with swish equals silu() of groupNorm(), gradients too", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(3 * 7 * 5 * 12, "x"), [3, 7, 5, 12]);
  const affine = {
    weight: tape.input(randomNumbers(12, "weight"), [12]),
    bias: tape.input(randomNumbers(12, "bias"), [12]),
  };
  const gradient = tape.input(randomNumbers(x.size, "gradient"), x.shape);
  const fused = groupNorm(x, affine, { groups: 3, swish: true });
  const plain = silu(groupNorm(x, affine, { groups: 3 }));
  assertClose(await fused.read(), await plain.read(), ELEMENTWISE, "values");
  const operands = [x, affine.weight, affine.bias];
  const [found, expected] = [fused, plain].map((y) => tape.grad(y, operands, { gradient }));
  for (const [i, operand] of operands.entries()) {
    assertClose(
      await found!.get(operand)!.read(),
      await expected!.get(operand)!.read(),
      REDUCTION,
      `gradient ${i}`,
    );
  }
});

gpuTest("groupNorm() rejects groups that do not divide channels", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(12), [1, 1, 2, 6]);
  const weight = tape.input(new Float32Array(6), [6]);
  assertThrows(
    () => groupNorm(x, { weight, bias: weight }, { groups: 4 }),
    RangeError,
    "Cannot split 6 channels into groups: expected a divisor of 6, found 4",
  );
});

gpuTest("groupNorm() rejects a weight of another length", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(12), [1, 1, 2, 6]);
  const weight = tape.input(new Float32Array(5), [5]);
  assertThrows(() => groupNorm(x, { weight, bias: weight }, { groups: 2 }), TypeError, "weight");
});

gpuTest("GroupNorm starts with weight 1 and bias 0 under the reference's names", async (gpu) => {
  using norm = new GroupNorm(new ModuleContext(gpu, 0), { channels: 4, groups: 2 });
  assertEquals([...norm.namedParameters("norm1.")].map(([name]) => name), [
    "norm1.weight",
    "norm1.bias",
  ]);
  assertEquals([...await norm.weight.read()], [1, 1, 1, 1]);
  assertEquals([...await norm.bias.read()], [0, 0, 0, 0]);
});

Deno.test("chunkRows() divides any number of rows into about as many chunks as rows in a chunk", () => {
  for (const rows of [1, 2, 7, 12, 64, 1000, 1024, 1025, 65536]) {
    assertEquals(rows % chunkRows(rows), 0);
  }
  assertEquals([1, 13, 64, 1024, 2048].map(chunkRows), [1, 13, 8, 32, 64]);
});

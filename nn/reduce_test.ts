import { assertEquals, assertThrows } from "@std/assert";
import { GpuMemoryError } from "../kernels/errors.ts";
import { Gpu } from "../kernels/gpu.ts";
import { REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { mean, sum } from "./reduce.ts";
import { Tape } from "./tape.ts";

function add(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

checkOp("sum()", [{
  name: "of all elements, in three passes",
  inputs: { x: { shape: [67, 641] } },
  run: ({ x }) => sum(x!),
  reference: ({ x }) => [add(x!)],
  close: REDUCTION,
  bindingLimit: 4096,
}, {
  name: "of one element",
  inputs: { x: { shape: [1] } },
  run: ({ x }) => sum(x!),
  reference: ({ x }) => x!,
  close: REDUCTION,
}, {
  name: "over leading axes",
  inputs: { x: { shape: [2, 331, 3] } },
  run: ({ x }) => sum(x!, { axes: [0, 1] }),
  reference: ({ x }) => [0, 1, 2].map((c) => add(x!.filter((_, i) => i % 3 === c))),
  close: REDUCTION,
  bindingLimit: 1024,
}]);

checkOp("mean()", [{
  name: "over the middle axes of an image",
  inputs: { x: { shape: [3, 17, 19, 5] } },
  run: ({ x }) => mean(x!, { axes: [1, 2] }),
  reference: ({ x }) =>
    Array.from({ length: 15 }, (_, o) => {
      const [image, channel] = [Math.floor(o / 5), o % 5];
      return add(
        Array.from({ length: 323 }, (_, p) => x![(image * 323 + p) * 5 + channel]!),
      ) / 323;
    }),
  close: REDUCTION,
  bindingLimit: 2048,
}, {
  name: "over the last axis of many rows",
  inputs: { x: { shape: [37, 4, 11] } },
  run: ({ x }) => mean(x!, { axes: [-1] }),
  reference: ({ x }) =>
    Array.from({ length: 148 }, (_, r) => add(x!.slice(11 * r, 11 * r + 11)) / 11),
  close: REDUCTION,
  bindingLimit: 512,
}]);

gpuTest("sum() of a million numbers keeps its digits", async (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const values = new Float32Array(1_000_003).fill(Math.fround(0.1));
  const [found] = await sum(tape.input(values, [values.length])).read();
  const expected = values.length * Math.fround(0.1);
  assertEquals(Math.abs(found! / expected - 1) < 1e-6, true);
});

gpuTest("sum() rejects axes that are not neighbors", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(6), [1, 2, 3]);
  assertThrows(() => sum(x, { axes: [0, 2] }), TypeError, "neighboring axes");
  assertThrows(() => sum(x, { axes: [3] }), TypeError, "neighboring axes");
  assertThrows(() => sum(x, { axes: [] }), TypeError, "neighboring axes");
});

gpuTest("mean() refuses rows of which no two fit a binding", async () => {
  using gpu = await Gpu.open({ maxBindingBytes: 512 });
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(3 * 100), [3, 100]);
  assertThrows(() => mean(x, { axes: [0] }), GpuMemoryError, "two rows");
});

import { assertEquals, assertThrows } from "@std/assert";
import { ELEMENTWISE, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { crossEntropy, l1Loss, mseLoss } from "./losses.ts";
import { Tape } from "./tape.ts";

function entropies(x: number[], targets: number[]): number[] {
  const columns = x.length / targets.length;
  return targets.map((target, r) => {
    const row = x.slice(r * columns, r * columns + columns);
    const largest = Math.max(...row);
    return largest - row[target]! + Math.log(row.reduce((s, v) => s + Math.exp(v - largest), 0));
  });
}

function average(values: number[]): number[] {
  return [values.reduce((sum, value) => sum + value, 0) / values.length];
}

const targets = { shape: [2, 3], values: [0, 66, 5, 5, 12, 40], dtype: "u32" as const };

checkOp("crossEntropy()", [{
  name: "averaged",
  inputs: { x: { shape: [2, 3, 67] }, targets },
  run: ({ x, targets }) => crossEntropy(x!, targets!),
  reference: ({ x, targets }) => average(entropies(x!, targets!)),
  close: ELEMENTWISE,
}, {
  name: "by row",
  inputs: { x: { shape: [2, 3, 67] }, targets },
  run: ({ x, targets }) => crossEntropy(x!, targets!, { reduction: "none" }),
  reference: ({ x, targets }) => entropies(x!, targets!),
  close: ELEMENTWISE,
}, {
  name: "in ranges",
  inputs: {
    x: { shape: [300, 7] },
    targets: { shape: [300], values: Array.from({ length: 300 }, (_, i) => i % 7), dtype: "u32" },
  },
  run: ({ x, targets }) => crossEntropy(x!, targets!),
  reference: ({ x, targets }) => average(entropies(x!, targets!)),
  close: ELEMENTWISE,
  bindingLimit: 2048,
}, {
  name: "of logits that overflow exp",
  inputs: {
    x: { shape: [2, 3], values: [4000, -4000, 0, 100, 100, 100] },
    targets: { shape: [2], values: [1, 2], dtype: "u32" },
  },
  run: ({ x, targets }) => crossEntropy(x!, targets!, { reduction: "none" }),
  reference: () => [8000, Math.log(3)],
  close: ELEMENTWISE,
  wrt: [],
}]);

gpuTest("crossEntropy() of equal logits over 262144 classes is log(262144)", async (gpu) => {
  using tape = new Tape(gpu);
  const logits = tape.input(new Float32Array(262144).fill(3), [1, 262144]);
  const loss = crossEntropy(logits, tape.input(new Uint32Array([262143]), [1]));
  const [value] = await loss.read();
  assertEquals(Math.abs(value! - Math.log(262144)) < 1e-5, true);
  const gradient = await tape.grad(loss, [logits]).get(logits)!.read();
  assertEquals(Math.abs(gradient[262143]! - (1 / 262144 - 1)) < 1e-6, true);
  assertEquals(Math.abs(gradient[0]! * 262144 - 1) < 1e-5, true);
});

gpuTest("crossEntropy() of a target that is no class is NaN", async (gpu) => {
  using tape = new Tape(gpu);
  const logits = tape.input(new Float32Array(4), [2, 2]);
  const loss = crossEntropy(logits, tape.input(new Uint32Array([1, 2]), [2]), {
    reduction: "none",
  });
  assertEquals([...await loss.read()].map(Number.isNaN), [false, true]);
});

gpuTest("crossEntropy() rejects targets of another shape or type", (gpu) => {
  using tape = new Tape(gpu);
  const logits = tape.input(new Float32Array(4), [2, 2]);
  assertThrows(
    () => crossEntropy(logits, tape.input(new Uint32Array(3), [3])),
    TypeError,
    "expected shape [2]",
  );
  assertThrows(
    () => crossEntropy(logits, tape.input(new Float32Array(2), [2])),
    TypeError,
    "expected targets of dtype u32",
  );
});

const pair = { a: { shape: [5, 7, 3] }, b: { shape: [5, 7, 3], offset: 5 } };

checkOp("l1Loss()", [{
  name: "of a size that no workgroup divides",
  inputs: pair,
  run: ({ a, b }) => l1Loss(a!, b!),
  reference: ({ a, b }) => average(a!.map((value, i) => Math.abs(value - b![i]!))),
  close: REDUCTION,
}]);

checkOp("mseLoss()", [{
  name: "of a size that no workgroup divides",
  inputs: pair,
  run: ({ a, b }) => mseLoss(a!, b!),
  reference: ({ a, b }) => average(a!.map((value, i) => (value - b![i]!) ** 2)),
  close: REDUCTION,
}]);

gpuTest("l1Loss() has gradient 0 where both are equal", async (gpu) => {
  using tape = new Tape(gpu);
  const a = tape.input(new Float32Array([1, 2]), [2]);
  const b = tape.input(new Float32Array([1, 5]), [2]);
  assertEquals([...await tape.grad(l1Loss(a, b), [a]).get(a)!.read()], [0, -0.5]);
});

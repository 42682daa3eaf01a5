import { assertEquals, assertThrows } from "@std/assert";
import { ELEMENTWISE } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { add, detach, mul, reshape, scale } from "./math.ts";
import { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

const pair = { a: { shape: [5, 131] }, b: { shape: [5, 131] } };

checkOp("add()", [{
  name: "with factors, of a size that no workgroup divides",
  inputs: pair,
  run: ({ a, b }) => add(a!, b!, { alpha: 2, beta: -0.5 }),
  reference: ({ a, b }) => a!.map((value, i) => 2 * value - 0.5 * b![i]!),
  close: ELEMENTWISE,
  half: ["a", "b"],
  bindingLimit: 512,
}]);

checkOp("mul()", [{
  name: "of one element",
  inputs: { a: { shape: [1] }, b: { shape: [1] } },
  run: ({ a, b }) => mul(a!, b!),
  reference: ({ a, b }) => [a![0]! * b![0]!],
  close: ELEMENTWISE,
}, {
  name: "in ranges",
  inputs: pair,
  run: ({ a, b }) => mul(a!, b!),
  half: ["a", "b"],
  bindingLimit: 512,
}]);

checkOp("scale()", [{
  name: "with a summand",
  inputs: { x: { shape: [3, 7] } },
  run: ({ x }) => scale(x!, -3, 2),
  reference: ({ x }) => x!.map((value) => -3 * value + 2),
  close: ELEMENTWISE,
  half: ["x"],
}]);

gpuTest("Tape.grad() adds the gradients of a tensor that is used twice", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([3]), [1]);
  const y = add(mul(x, x), reshape(scale(x, 5), [1]));
  assertEquals([...(await tape.grad(y, [x]).get(x)!.read())], [11]);
  assertEquals([...(await tape.grad(y, [x], { last: true }).get(x)!.read())], [11]);
});

gpuTest("Tape.grad() does not pass a detached tensor", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([3]), [1]);
  assertEquals(tape.grad(detach(mul(x, x)), [x]).has(x), false);
});

gpuTest("a tensor throws after its tape closed", (gpu) => {
  let leaked: Tensor | undefined;
  {
    using tape = new Tape(gpu);
    leaked = tape.input(new Float32Array([3]), [1]);
  }
  assertThrows(() => leaked!.storage, TypeError, "closed");
});

gpuTest("Tape.record() refuses operands of two tapes", (gpu) => {
  using one = new Tape(gpu);
  using two = new Tape(gpu);
  const a = one.input(new Float32Array([3]), [1]);
  const b = two.input(new Float32Array([3]), [1]);
  assertThrows(() => add(a, b), TypeError, "another");
});

gpuTest("Tape.scope() gives intermediate values back on a tape that does not record", (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(new Float32Array(1000), [1000]);
  const before = gpu.stats().liveBytes;
  tape.scope(() => scale(scale(scale(x, 2), 2), 2));
  assertEquals(gpu.stats().liveBytes - before, 4096);
});

import { assertEquals } from "@std/assert";
import { ELEMENTWISE } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { Tape } from "./tape.ts";
import { unitLength } from "./unit_length.ts";

function normalized(x: number[], columns: number): number[] {
  return x.map((value, i) => {
    const start = i - i % columns;
    return value / (Math.hypot(...x.slice(start, start + columns)) + 1e-10);
  });
}

checkOp("unitLength()", [{
  name: "of an image's channels",
  inputs: { x: { shape: [2, 5, 7, 13] } },
  run: ({ x }) => unitLength(x!),
  reference: ({ x }) => normalized(x!, 13),
  close: ELEMENTWISE,
  bindingLimit: 3328,
  half: ["x"],
}, {
  name: "of packs of channels",
  inputs: { x: { shape: [2, 3, 5, 12] } },
  run: ({ x }) => unitLength(x!),
  reference: ({ x }) => normalized(x!, 12),
  close: ELEMENTWISE,
  bindingLimit: 384,
  half: ["x"],
}, {
  name: "of more channels than one pass adds",
  inputs: { x: { shape: [3, 517] } },
  run: ({ x }) => unitLength(x!),
  reference: ({ x }) => normalized(x!, 517),
  close: ELEMENTWISE,
}]);

gpuTest("unitLength() of zeros is 0 with gradient 0", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([0, 0, 3, 4]), [2, 2]);
  const y = unitLength(x);
  assertEquals([...await y.read()].slice(0, 2), [0, 0]);
  const gradient = tape.input(new Float32Array([1, 1, 0, 0]), [2, 2]);
  assertEquals([...await tape.grad(y, [x], { gradient }).get(x)!.read()], [0, 0, 0, 0]);
});

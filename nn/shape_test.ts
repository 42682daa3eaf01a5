import { assertEquals, assertThrows } from "@std/assert";
import { ELEMENTWISE, EXACT } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { add } from "./math.ts";
import { concat, slice, split } from "./shape.ts";
import { Tape } from "./tape.ts";

/** Columns [start, start + length) of rows of `stride` numbers. */
function columns(x: number[], stride: number, start: number, length: number): number[] {
  return x.filter((_, i) => i % stride >= start && i % stride < start + length);
}

checkOp("concat()", [{
  name: "along the middle axis",
  inputs: { a: { shape: [3, 1, 5] }, b: { shape: [3, 4, 5] } },
  run: ({ a, b }) => concat([a!, b!], { axis: 1 }),
  reference: ({ a, b }) =>
    [0, 1, 2].flatMap((r) => [...a!.slice(5 * r, 5 * r + 5), ...b!.slice(20 * r, 20 * r + 20)]),
  close: EXACT,
}, {
  name: "along the first axis",
  inputs: { a: { shape: [2, 3] }, b: { shape: [1, 3] } },
  run: ({ a, b }) => concat([a!, b!], { axis: 0 }),
  reference: ({ a, b }) => [...a!, ...b!],
  close: EXACT,
  half: ["a", "b"],
}, {
  name: "along the last axis, in ranges",
  inputs: { a: { shape: [300, 1] }, b: { shape: [300, 2] } },
  run: ({ a, b }) => concat([a!, b!]),
  reference: ({ a, b }) => a!.flatMap((value, i) => [value, b![2 * i]!, b![2 * i + 1]!]),
  close: EXACT,
  bindingLimit: 1024,
}]);

checkOp("slice()", [{
  name: "of the middle axis",
  inputs: { x: { shape: [3, 7, 5] } },
  run: ({ x }) => slice(x!, { axis: 1, start: 2, length: 3 }),
  reference: ({ x }) => columns(x!, 35, 10, 15),
  close: EXACT,
  half: ["x"],
}, {
  name: "of the first axis",
  inputs: { x: { shape: [7, 5] } },
  run: ({ x }) => slice(x!, { axis: 0, start: 6, length: 1 }),
  reference: ({ x }) => x!.slice(30),
  close: EXACT,
  half: ["x"],
}, {
  name: "of the last axis, in ranges",
  inputs: { x: { shape: [300, 4] } },
  run: ({ x }) => slice(x!, { start: 1, length: 2 }),
  reference: ({ x }) => columns(x!, 4, 1, 2),
  close: EXACT,
  bindingLimit: 1024,
}]);

checkOp("split()", [{
  name: "into parts of which one is used",
  inputs: { x: { shape: [4, 3, 9] } },
  run: ({ x }) => split(x!, [2, 4, 3])[1],
  reference: ({ x }) => columns(x!, 9, 2, 4),
  close: EXACT,
}, {
  name: "into parts that are added",
  inputs: { x: { shape: [5, 6] } },
  run: ({ x }) => {
    const [a, b, c] = split(x!, [2, 2, 2]);
    return add(add(a, b, { alpha: 3 }), c);
  },
  reference: ({ x }) => {
    const [a, b, c] = [0, 2, 4].map((start) => columns(x!, 6, start, 2));
    return a!.map((value, i) => Math.fround(Math.fround(3 * value + b![i]!) + c![i]!));
  },
  close: ELEMENTWISE,
}]);

gpuTest("concat() and slice() move integers", async (gpu) => {
  using tape = new Tape(gpu);
  const a = tape.input(new Uint32Array([4_000_000_000, 1]), [2, 1]);
  const b = tape.input(new Uint32Array([2, 3]), [2, 1]);
  const y = concat([a, b]);
  assertEquals([...await y.readIndices()], [4_000_000_000, 2, 1, 3]);
  assertEquals([...await slice(y, { start: 1, length: 1 }).readIndices()], [2, 3]);
});

gpuTest("concat(), split() and slice() reject what does not fit", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(6), [2, 3]);
  const other = tape.input(new Float32Array(9), [3, 3]);
  assertThrows(() => concat([]), TypeError, "at least one");
  assertThrows(() => concat([x, other]), TypeError, "but for axis 1");
  assertThrows(() => split(x, [1, 1]), TypeError, "add up to 3");
  assertThrows(() => slice(x, { start: 2, length: 2 }), RangeError, "within 0 to 3");
  assertThrows(() => slice(x, { axis: 2, start: 0, length: 1 }), TypeError, "expected an axis");
});

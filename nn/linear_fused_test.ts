import { assertEquals, assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { addGated } from "./broadcast.ts";
import { linear } from "./linear.ts";
import { linearGated, linearSwiglu } from "./linear_fused.ts";
import { swiglu } from "./swiglu.ts";
import { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

const INPUTS = 192;
const OUTPUTS = 20;

interface Operands extends Record<string, Tensor> {
  x: Tensor;
  weight: Tensor;
  other: Tensor;
  bias: Tensor;
  residual: Tensor;
  gate: Tensor;
}

function operandsOf(tape: Tape, rows: number, gates: number, half: boolean): Operands {
  const random = (name: string, shape: number[], scale = 1): Tensor => {
    const numbers = randomNumbers(shape.reduce((a, b) => a * b), name).map((v) => v * scale);
    return tape.input(half ? Float16Array.from(numbers) : numbers, shape);
  };
  return {
    x: random("x", [rows, 1, INPUTS], 1 / 4),
    weight: random("weight", [OUTPUTS, INPUTS], INPUTS ** -0.5),
    other: random("other", [OUTPUTS, INPUTS], INPUTS ** -0.5),
    bias: tape.input(randomNumbers(OUTPUTS, "bias"), [OUTPUTS]),
    residual: random("residual", [rows, 1, OUTPUTS]),
    gate: random("gate", [gates, OUTPUTS]),
  };
}

const fused = {
  linearGated: ({ x, weight, bias, residual, gate }: Operands): Tensor =>
    linearGated(x, { weight, bias }, { residual, gate }),
  linearSwiglu: ({ x, weight, other }: Operands): Tensor =>
    linearSwiglu(x, { gate: weight, weight: other }),
};
const apart: typeof fused = {
  linearGated: ({ x, weight, bias, residual, gate }) =>
    addGated(residual, linear(x, { weight, bias }), gate),
  linearSwiglu: ({ x, weight, other }) =>
    swiglu(linear(x, { weight }), linear(x, { weight: other })),
};

for (const op of ["linearGated", "linearSwiglu"] as const) {
  gpuTest(`${op}(): equals the ops that it joins, in fewer dispatches`, async (gpu) => {
    for (const rows of [1, 2, 5]) {
      using tape = new Tape(gpu, { record: false });
      const operands = operandsOf(tape, rows, rows, false);
      const counts: number[] = [];
      const run = (ops: typeof fused): Tensor => {
        const before = gpu.stats().dispatches;
        const y = ops[op](operands);
        counts.push(gpu.stats().dispatches - before);
        return y;
      };
      const y = await run(fused).read();
      assertClose(y, await run(apart).read(), REDUCTION, `${rows} rows`);
      assertEquals(counts[0]! < counts[1]!, true, `expected fewer dispatches, found ${counts}`);
    }
  });

  gpuTest(`${op}(): where it cannot be one dispatch, is the ops that it joins`, async (gpu) => {
    const cases: [number, number, boolean, boolean][] = [[9, 9, false, false], [2, 2, true, false]];
    if (op === "linearGated") cases.push([2, 1, false, false]);
    if (gpu.features.has("shader-f16")) cases.push([2, 2, false, true]);
    for (const [rows, gates, record, half] of cases) {
      using tape = new Tape(gpu, { record });
      const operands = operandsOf(tape, rows, gates, half);
      const y = fused[op](operands);
      assertEquals(await y.read(), await apart[op](operands).read());
      if (!record) continue;
      const ones = tape.input(new Float32Array(y.size).fill(1), y.shape);
      const gradients = tape.grad(y, [operands.x, operands.weight], { gradient: ones });
      assertEquals(gradients.size, 2);
    }
  });
}

gpuTest("linearGated() and linearSwiglu() reject shapes that do not fit", (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const { x, weight, residual, gate, other } = operandsOf(tape, 2, 2, false);
  const short = tape.view(weight, [2 * OUTPUTS, INPUTS / 2]);
  assertThrows(() => linearGated(x, { weight: short }, { residual, gate }), TypeError, "expected");
  assertThrows(() => linearSwiglu(x, { gate: short, weight: other }), TypeError, "expected");
  assertThrows(
    () => linearGated(x, { weight }, { residual: tape.view(residual, [1, 2, OUTPUTS]), gate }),
    TypeError,
    "expected shape",
  );
});

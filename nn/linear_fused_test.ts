import { assertEquals, assertThrows } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { addGated } from "./broadcast.ts";
import { linear } from "./linear.ts";
import { linearGated, linearNormed, linearSwiglu, type NormedRows } from "./linear_fused.ts";
import { ModuleContext } from "./module.ts";
import { RmsNorm } from "./row_norm.ts";
import { swiglu } from "./swiglu.ts";
import { Tape } from "./tape.ts";
import { slice } from "./shape.ts";
import type { Operand, Tensor } from "./tensor.ts";

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
        const y = tape.repeating(() => ops[op](operands));
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
      const y = tape.repeating(() => fused[op](operands));
      const expected = tape.repeating(() => apart[op](operands));
      assertEquals(await y.read(), await expected.read());
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

/** Rows, their norm and a modulation of each. */
function normedRows(tape: Tape, norm: RmsNorm, rows: number): NormedRows {
  const random = (name: string): Tensor =>
    tape.input(randomNumbers(rows * INPUTS, name), [rows, 1, INPUTS]);
  return {
    rows: random("rows"),
    norm,
    modulation: { scale: random("scale"), shift: random("shift") },
  };
}

gpuTest("linearNormed() and linearSwiglu(): equal a norm and what comes behind it", async (gpu) => {
  using norm = new RmsNorm(new ModuleContext(gpu, 1), { width: INPUTS, eps: 1e-2 });
  norm.weight.write(randomNumbers(INPUTS, "norm"));
  for (const half of gpu.features.has("shader-f16") ? [false, true] : [false]) {
    for (const rows of [1, 2, 3, 7, 9]) {
      using tape = new Tape(gpu, { record: false });
      const { weight, other, bias } = operandsOf(tape, rows, rows, half);
      const x = normedRows(tape, norm, rows);
      const normed = norm.modulated(x.rows, x.modulation);
      const dispatches = (body: () => Tensor): { y: Tensor; count: number } => {
        const before = gpu.stats().dispatches;
        return { y: tape.repeating(body), count: gpu.stats().dispatches - before };
      };
      for (
        const body of [
          (rows: Tensor | NormedRows) => linearNormed(rows, { weight, bias }),
          (rows: Tensor | NormedRows) => linearSwiglu(rows, { gate: weight, weight: other }),
        ]
      ) {
        const { y, count } = dispatches(() => body(x));
        const expected = dispatches(() => body(normed));
        assertClose(await y.read(), await expected.y.read(), REDUCTION, `${rows} rows`);
        // The norm has no dispatch of its own where the product takes it.
        const joined = gpu.adapter.software && rows <= 8;
        assertEquals(count - expected.count, joined ? 0 : 1, `${rows} rows`);
      }
    }
  }
});

gpuTest("linearNormed(): a modulation that rows share, and gradients", async (gpu) => {
  using norm = new RmsNorm(new ModuleContext(gpu, 1), { width: INPUTS });
  for (const record of [false, true]) {
    using tape = new Tape(gpu, { record });
    const { weight } = operandsOf(tape, 1, 1, false);
    const { rows, modulation } = normedRows(tape, norm, 2);
    const x = {
      rows: tape.view(rows, [1, 2, INPUTS]),
      norm,
      modulation: sharedBy(tape, modulation),
    };
    const y = tape.repeating(() => linearNormed(x, { weight }));
    const expected = linear(norm.modulated(x.rows, x.modulation), { weight });
    assertClose(await y.read(), await expected.read(), REDUCTION, `record ${record}`);
    if (!record) continue;
    const ones = tape.input(new Float32Array(y.size).fill(1), y.shape);
    assertEquals(tape.grad(y, [x.rows, weight], { gradient: ones }).size, 2);
  }
});

/** The first image's vectors alone. */
function sharedBy(
  tape: Tape,
  { scale, shift }: NormedRows["modulation"],
): NormedRows["modulation"] {
  const first = (vectors: Operand): Tensor =>
    slice(tape.constant(vectors), { axis: 0, start: 0, length: 1 });
  return { scale: first(scale), shift: first(shift) };
}

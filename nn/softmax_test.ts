import { assertEquals, assertThrows } from "@std/assert";
import { ELEMENTWISE } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase } from "../tests/op_case.ts";
import { logSoftmax, softmax } from "./softmax.ts";
import { Tape } from "./tape.ts";

function logProbabilities(x: number[], columns: number): number[] {
  return x.map((value, i) => {
    const row = x.slice(i - i % columns, i - i % columns + columns);
    const largest = Math.max(...row);
    return value - largest - Math.log(row.reduce((sum, v) => sum + Math.exp(v - largest), 0));
  });
}

function probabilities(x: number[], columns: number): number[] {
  return logProbabilities(x, columns).map(Math.exp);
}

function cases(
  run: OpCase["run"],
  reference: (x: number[], columns: number) => number[],
): OpCase[] {
  return [{
    name: "of rows that no workgroup divides",
    inputs: { x: { shape: [5, 3, 67] } },
    run,
    reference: ({ x }) => reference(x!, 67),
    close: ELEMENTWISE,
    half: ["x"],
  }, {
    name: "in ranges",
    inputs: { x: { shape: [41, 16] } },
    run,
    reference: ({ x }) => reference(x!, 16),
    close: ELEMENTWISE,
    half: ["x"],
    bindingLimit: 1024,
  }, {
    name: "of rows that registers hold, in ranges",
    inputs: { x: { shape: [131, 96] } },
    run,
    reference: ({ x }) => reference(x!, 96),
    close: ELEMENTWISE,
    half: ["x"],
    bindingLimit: 2048,
  }, {
    name: "of rows of nine packs a lane",
    inputs: { x: { shape: [3, 288] } },
    run,
    wrt: [],
    reference: ({ x }) => reference(x!, 288),
    close: ELEMENTWISE,
  }, {
    name: "of one column",
    inputs: { x: { shape: [3, 1] } },
    run,
    wrt: [],
    reference: ({ x }) => reference(x!, 1),
    close: ELEMENTWISE,
  }, {
    name: "of logits far from 0",
    inputs: {
      x: { shape: [3, 11], values: Array.from({ length: 33 }, (_, i) => 3000 + i % 7 / 2) },
    },
    run,
    wrt: [],
    reference: ({ x }) => reference(x!, 11),
    close: ELEMENTWISE,
  }, {
    name: "of long rows",
    inputs: { x: { shape: [2, 1031] } },
    run,
    reference: ({ x }) => reference(x!, 1031),
    close: ELEMENTWISE,
  }];
}

checkOp("softmax()", cases(({ x }) => softmax(x!), probabilities));
checkOp("logSoftmax()", cases(({ x }) => logSoftmax(x!), logProbabilities));

gpuTest("softmax() passes NaN on within its row", async (gpu) => {
  using tape = new Tape(gpu);
  const y = await softmax(tape.input(new Float32Array([NaN, 1, 0, 0]), [2, 2])).read();
  assertEquals([...y], [NaN, NaN, 0.5, 0.5]);
  const wide = new Float32Array(2 * 64);
  wide[63] = NaN;
  const probabilities = await softmax(tape.input(wide, [2, 64])).read();
  assertEquals([...probabilities], [...Array(64).fill(NaN), ...Array(64).fill(1 / 64)]);
});

gpuTest("softmax() rejects a scalar", (gpu) => {
  using tape = new Tape(gpu);
  assertThrows(() => softmax(tape.input(new Float32Array(1), [])), TypeError, "last axis");
});

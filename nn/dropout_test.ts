import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { dropout, dropPath, replaceLabels } from "./dropout.ts";
import { Tape } from "./tape.ts";

checkOp("dropout()", [{
  name: "draws the same in backward and in ranges",
  inputs: { x: { shape: [7, 131] } },
  run: ({ x }) => dropout(x!, 0.3),
  bindingLimit: 512,
  half: ["x"],
}]);

checkOp("dropPath()", [{
  name: "draws the same in backward and in ranges",
  inputs: { x: { shape: [7, 11, 3] } },
  run: ({ x }) => dropPath(x!, 0.5),
  bindingLimit: 256,
  half: ["x"],
}]);

gpuTest("dropout() keeps the expectation and follows seed, step and place", async (gpu) => {
  const count = 40_001;
  const draw = async (seed: number, step: number, skip: number): Promise<Float32Array> => {
    using tape = new Tape(gpu, { seed, step });
    const x = tape.input(new Float32Array(count).fill(1), [count]);
    for (let i = 0; i < skip; i++) dropout(x, 0.5);
    return await dropout(x, 0.2).read();
  };
  const y = await draw(1, 2, 0);
  assertEquals(new Set(y), new Set([0, 1.25]));
  assert(Math.abs(y.reduce((sum, value) => sum + value, 0) / count - 1) < 0.02);
  assertEquals(await draw(1, 2, 0), y);
  for (const [seed, step, skip] of [[2, 2, 0], [1, 3, 0], [1, 2, 1]] as const) {
    assertNotEquals(await draw(seed, step, skip), y);
  }
});

gpuTest(
  "dropout() and dropPath() of probability 0 are the identity, of 1 are zero",
  async (gpu) => {
    using tape = new Tape(gpu);
    const x = tape.input(new Float32Array([1, 2, 3]), [3, 1]);
    assertEquals(dropout(x, 0), x);
    assertEquals(dropPath(x, 0), x);
    assertEquals([...await dropout(x, 1).read()], [0, 0, 0]);
  },
);

gpuTest("dropPath() decides once a sample", async (gpu) => {
  using tape = new Tape(gpu, { seed: 5 });
  const [batch, rest] = [200, 6];
  const y = await dropPath(tape.input(new Float32Array(batch * rest).fill(1), [batch, 2, 3]), 0.75)
    .read();
  const samples = Array.from({ length: batch }, (_, i) => y.slice(rest * i, rest * i + rest));
  for (const sample of samples) assertEquals(new Set(sample).size, 1);
  const kept = samples.filter((sample) => sample[0] === 4).length;
  assert(kept > 25 && kept < 75, `kept ${kept} of 200`);
});

gpuTest("replaceLabels() replaces about the given share", async (gpu) => {
  using tape = new Tape(gpu, { seed: 3 });
  const count = 10_003;
  const labels = tape.input(Uint32Array.from({ length: count }, (_, i) => i % 10), [count]);
  const dropped = await replaceLabels(labels, 0.1, { value: 10 }).readIndices();
  const changed = dropped.filter((label, i) => label !== i % 10);
  assertEquals(new Set(changed), new Set([10]));
  assert(Math.abs(changed.length / count - 0.1) < 0.01);
  const random = await replaceLabels(labels, 1, { below: 7 }).readIndices();
  const counts = new Array<number>(7).fill(0);
  for (const label of random) counts[label]!++;
  for (const value of counts) assert(Math.abs(value / count - 1 / 7) < 0.02);
  assertEquals(replaceLabels(labels, 0, { value: 10 }), labels);
});

gpuTest("dropout() and replaceLabels() reject what is no probability or no label", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(2), [2]);
  assertThrows(() => dropout(x, 1.5), RangeError, "in [0, 1], found 1.5");
  assertThrows(() => dropPath(x, NaN), RangeError, "in [0, 1], found NaN");
  assertThrows(() => replaceLabels(x, 0.1, { value: 0 }), TypeError, "dtype u32");
});

import { assertEquals, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { gpuTest } from "../tests/op_case.ts";
import { replaceIndices, type ReplaceOptions } from "./replace.ts";
import { Tape } from "./tape.ts";

const COUNT = 5003;

async function replaced(gpu: Gpu, options: ReplaceOptions & { step?: number }): Promise<number[]> {
  const { step = 1, ...rest } = options;
  using tape = new Tape(gpu, { record: false, seed: 3, step });
  const x = tape.input(Uint32Array.from({ length: COUNT }, (_, i) => 100 + i % 7), [COUNT]);
  return [...await replaceIndices(x, rest).readIndices()];
}

gpuTest("replaceIndices() replaces the wanted share by one index", async (gpu) => {
  const found = await replaced(gpu, { rate: 0.1, low: 9 });
  const share = found.filter((index) => index === 9).length / COUNT;
  // Five standard deviations of a binomial share.
  assertEquals(Math.abs(share - 0.1) < 5 * Math.sqrt(0.09 / COUNT), true);
  assertEquals(found.every((index, i) => index === 9 || index === 100 + i % 7), true);
});

gpuTest("replaceIndices() draws replacements from the whole range", async (gpu) => {
  const found = await replaced(gpu, { rate: 1, low: 4, range: 10 });
  const counts = Array.from({ length: 10 }, (_, i) => found.filter((x) => x === 4 + i).length);
  assertEquals(counts.reduce((a, b) => a + b), COUNT);
  assertEquals(counts.every((count) => Math.abs(count / COUNT - 0.1) < 0.03), true);
});

gpuTest("replaceIndices() depends on the step, not on ranges", async (gpu) => {
  const options = { rate: 0.5, range: 1000 };
  const whole = await replaced(gpu, options);
  using limited = await Gpu.open({ maxBindingBytes: 4096 });
  assertEquals(await replaced(limited, options), whole);
  const other = await replaced(gpu, { ...options, step: 2 });
  assertEquals(other.filter((index, i) => index !== whole[i]).length > COUNT / 3, true);
  assertEquals(await replaced(gpu, { rate: 0 }), await replaced(gpu, { rate: 0, step: 5 }));
});

gpuTest("replaceIndices() rejects floats, probabilities out of range and empty ranges", (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const floats = tape.input(new Float32Array(2), [2]);
  const x = tape.input(new Uint32Array(2), [2]);
  assertThrows(() => replaceIndices(floats, { rate: 0 }), TypeError, "found f32");
  assertThrows(() => replaceIndices(x, { rate: 1.5 }), RangeError, "found 1.5");
  assertThrows(() => replaceIndices(x, { rate: 0.5, range: 0 }), RangeError, "found 0");
});

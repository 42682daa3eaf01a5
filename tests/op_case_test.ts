/** The checks that every test of an op relies on fail when they should. @module */

import { assertEquals, AssertionError, assertRejects, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { Parameter } from "../nn/tensor.ts";
import { assertClose, type Comparison, ELEMENTWISE, EXACT, observeComparisons } from "./close.ts";
import { gpuTest, type GpuTestBody, randomNumbers, runGpuTest } from "./op_case.ts";

gpuTest("a buffer that is dropped and never given back fails its test", async () => {
  using gpu = await Gpu.open();
  const leaks: GpuTestBody[] = [
    (gpu) => void gpu.acquire(1000),
    (gpu) => void new Parameter(gpu, [8]),
  ];
  for (const leak of leaks) {
    await assertRejects(
      () => runGpuTest(gpu, leak),
      AssertionError,
      "bytes that the test did not give back",
    );
  }
  await runGpuTest(gpu, (gpu) => gpu.release(gpu.acquire(1000)));
});

Deno.test("assertClose() reports the worst number, and passes on the border", () => {
  const compare = (found: number[], expected: number[]) => () =>
    assertClose(found, expected, { relative: 0.1, absolute: 1 }, "numbers");
  compare([11, -3], [10, -4])();
  assertThrows(compare([12.1, -3], [10, -4]), AssertionError, "numbers: worst at index 0");
  assertThrows(compare([NaN, -3], [10, -4]), AssertionError, "expected 10, found NaN");
  assertThrows(compare([1], [1, 2]), AssertionError, "numbers: expected 2 numbers, found 1");
});

Deno.test("observeComparisons() sees what passes and what fails, until it is disposed", () => {
  const seen: Comparison[] = [];
  {
    using _observation = observeComparisons((comparison) => seen.push(comparison));
    assertClose([1, 2], [1, 2], EXACT, "equal");
    assertThrows(() => assertClose([1, 5], [1, 2], EXACT, "different"));
    assertClose([], [], ELEMENTWISE, "empty");
  }
  assertClose([1], [1], EXACT, "unseen");
  assertEquals(seen.map(({ what, error, allowed }) => [what, error, allowed]), [
    ["equal", 0, 0],
    ["different", 3, 0],
    ["empty", 0, 1e-7],
  ]);
});

Deno.test("randomNumbers() look normal and depend on the seed alone", () => {
  const numbers = randomNumbers(4000, "seed");
  assertEquals(randomNumbers(4000, "seed"), numbers);
  const squares = numbers.reduce((sum, value) => sum + value * value, 0) / numbers.length;
  const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  assertClose([squares, mean], [1, 0], { relative: 0, absolute: 0.1 }, "moments");
});

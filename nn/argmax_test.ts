import { assertEquals, assertThrows } from "@std/assert";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { Gpu } from "../kernels/gpu.ts";
import { argmax } from "./argmax.ts";
import { Tape } from "./tape.ts";

async function indicesOf(gpu: Gpu, values: Float32Array, columns: number): Promise<number[]> {
  using tape = new Tape(gpu);
  return [...await argmax(tape.input(values, [values.length / columns, columns])).readIndices()];
}

gpuTest("argmax() takes the first of equals", async (gpu) => {
  assertEquals(await indicesOf(gpu, new Float32Array([1, 3, 3, -1, -1, -2]), 3), [1, 0]);
  assertEquals(await indicesOf(gpu, new Float32Array([-5]), 1), [0]);
  const long = new Float32Array(2 * 1037);
  for (const at of [700, 131, 1030, 1037 + 1036, 1037 + 999]) long[at] = 2;
  assertEquals(await indicesOf(gpu, long, 1037), [131, 999]);
});

gpuTest("argmax() of rows of any length equals the host's, in ranges too", async (gpu) => {
  using limited = await Gpu.open({ maxBindingBytes: 512 * 41 });
  for (const [rows, columns] of [[70, 41], [64, 300]] as const) {
    const values = randomNumbers(rows * columns, "argmax").map((value) => Math.round(4 * value));
    const expected = Array.from({ length: rows }, (_, r) => {
      const row = values.slice(r * columns, r * columns + columns);
      return row.indexOf(Math.max(...row));
    });
    assertEquals(await indicesOf(gpu, values, columns), expected);
    assertEquals(await indicesOf(limited, values, columns), expected);
  }
});

gpuTest("argmax() rejects a scalar", (gpu) => {
  using tape = new Tape(gpu);
  assertThrows(() => argmax(tape.input(new Float32Array(1), [])), TypeError, "last axis");
});

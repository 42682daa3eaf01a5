import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { Tape } from "./tape.ts";
import { assertShape, dims, Parameter, sizeOf } from "./tensor.ts";

Deno.test("sizeOf() multiplies extents; a scalar has one element", () => {
  assertEquals([sizeOf([]), sizeOf([3]), sizeOf([2, 0, 5]), sizeOf([2, 3, 4])], [1, 3, 0, 24]);
});

gpuTest("dims() names the axes and rejects another number of them", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.alloc([2, 3, 4]);
  const { batch, tokens, channels } = dims(x, "batch tokens channels", "test()");
  assertEquals([batch, tokens, channels], [2, 3, 4]);
  assertThrows(
    () => dims(x, "rows columns", "test()"),
    TypeError,
    "Cannot run test(): expected shape (rows, columns), found [2,3,4]",
  );
});

gpuTest("assertShape() names what has another shape", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.alloc([2, 3]);
  assertShape(x, [2, 3], "test() x");
  for (const shape of [[2], [2, 4], [2, 3, 1]]) {
    assertThrows(
      () => assertShape(x, shape, "test() x"),
      TypeError,
      `Cannot use test() x: expected shape [${shape}], found [2,3]`,
    );
  }
});

gpuTest("Tensor.read() and Tensor.readIndices() keep floats and integers apart", async (gpu) => {
  using tape = new Tape(gpu);
  const floats = tape.input(new Float32Array([1.5]), [1]);
  const integers = tape.input(new Uint32Array([4294967295]), [1]);
  assertEquals([...await floats.read()], [1.5]);
  assertEquals([...await integers.readIndices()], [4294967295]);
  await assertRejects(() => integers.read(), TypeError, "expected dtype f32 or f16, found u32");
  await assertRejects(() => floats.readIndices(), TypeError, "expected dtype u32, found f32");
});

gpuTest("Parameter.write() and Parameter.read() move all elements or none", async (gpu) => {
  using parameter = new Parameter(gpu, [2, 2]);
  parameter.write(new Float32Array([1, 2, 3, 4]));
  assertEquals([...await parameter.read()], [1, 2, 3, 4]);
  assertThrows(
    () => parameter.write(new Float32Array(3)),
    RangeError,
    "Cannot write a parameter of shape [2,2]: expected 4 elements, found 3",
  );
});

gpuTest(
  "Parameter.writePart() writes some elements of either type, and no more than there are",
  async (gpu) => {
    for (const dtype of ["f32", "f16"] as const) {
      using parameter = new Parameter(gpu, [7], { dtype });
      parameter.write(Float32Array.of(1, 2, 3, 4, 5, 6, 7));
      parameter.writePart(2, Float32Array.of(-1, -2));
      parameter.writePart(6, Float32Array.of(0.5));
      assertEquals(await parameter.read(), Float32Array.of(1, 2, -1, -2, 5, 6, 0.5));
      assertThrows(
        () => parameter.writePart(6, Float32Array.of(1, 2)),
        RangeError,
        "Cannot write elements 6 to 8 of a parameter: expected at most 7",
      );
    }
    using halves = new Parameter(gpu, [7], { dtype: "f16" });
    assertThrows(() => halves.writePart(1, Float32Array.of(1)), RangeError, "whole words");
  },
);

gpuTest("a parameter owns its buffer until it is disposed, once", (gpu) => {
  const { liveBytes } = gpu.stats();
  const parameter = new Parameter(gpu, [1000]);
  assertEquals(gpu.stats().liveBytes - liveBytes, 4096);
  parameter[Symbol.dispose]();
  parameter[Symbol.dispose]();
  assertEquals(gpu.stats().liveBytes, liveBytes);
  assertThrows(() => parameter.storage, TypeError, "expected one with elements, found it disposed");
});

gpuTest(
  "Parameter.convertTo() rounds to f16, goes back to f32 and refuses integers",
  async (gpu) => {
    if (!gpu.features.has("shader-f16")) return;
    using parameter = new Parameter(gpu, [3]);
    parameter.write(Float32Array.from([1, 1 + 2 ** -12, 1e6]));
    parameter.convertTo("f16");
    assertEquals([parameter.dtype, parameter.storage.bytes], ["f16", 6]);
    parameter.convertTo("f32");
    assertEquals([...await parameter.read()], [1, 1, Infinity]);
    using indices = new Parameter(gpu, [3], { dtype: "u32" });
    assertThrows(() => indices.convertTo("f16"), TypeError, "found u32");
  },
);

import { assertEquals, assertThrows } from "@std/assert";
import { EXACT } from "../tests/close.ts";
import { checkOp, gpuTest } from "../tests/op_case.ts";
import { cast } from "./cast.ts";
import { mul } from "./math.ts";
import { Tape } from "./tape.ts";

checkOp("cast()", [{
  name: "to f16 and back, of an odd number of elements",
  inputs: { x: { shape: [5, 131], scale: 100 } },
  run: ({ x }) => cast(cast(x!, "f16"), "f32"),
  reference: ({ x }) => Float16Array.from(x!),
  close: EXACT,
  // A rounded function is a staircase: its derivative is taken to be 1.
  gradcheck: "straight-through",
  bindingLimit: 512,
}]);

gpuTest("cast() rounds to the nearest, and to infinity what f16 does not hold", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([1, 1 + 2 ** -11, 65504, 1e6, -1e6, 6e-8, 0]), [7]);
  assertEquals(
    await cast(x, "f16").read(),
    new Float32Array([1, 1, 65504, Infinity, -Infinity, 2 ** -24, 0]),
  );
});

gpuTest("cast() gives the gradient back in the type of its input", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([1, 2, 3]), [3]);
  const half = cast(x, "f16");
  const y = mul(half, half);
  const gradient = tape.grad(y, [x, half], {
    gradient: tape.input(new Float16Array([1, 1, 1]), [3]),
  });
  assertEquals(gradient.get(x)!.dtype, "f32");
  assertEquals(gradient.get(half)!.dtype, "f16");
  assertEquals(await gradient.get(x)!.read(), new Float32Array([2, 4, 6]));
});

gpuTest("cast() returns a tensor that has the type already, and rejects integers", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([1]), [1]);
  assertEquals(cast(x, "f32") === x, true);
  const indices = tape.input(new Uint32Array([1]), [1]);
  assertThrows(() => cast(indices, "f16"), TypeError, "found u32 and f16");
  assertThrows(() => cast(x, "u32"), TypeError, "found f32 and u32");
});

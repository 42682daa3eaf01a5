import { assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { square } from "./activation.ts";
import { scale } from "./math.ts";
import { sum } from "./reduce.ts";
import { Sentinel } from "./sentinel.ts";
import { Tape } from "./tape.ts";

gpuTest(
  "Sentinel.first() is undefined before anything was seen and while all is finite",
  async (gpu) => {
    using sentinel = new Sentinel(gpu);
    assertEquals(await sentinel.first(), undefined);
    using tape = new Tape(gpu, { sentinel });
    const x = tape.input(new Float32Array([1, -2, 0]), [3]);
    tape.grad(sum(square(x)), [x]);
    assertEquals(await sentinel.first(), undefined);
  },
);

gpuTest("a tape shows its sentinel every op, and what is freed at once", async (gpu) => {
  using sentinel = new Sentinel(gpu);
  using tape = new Tape(gpu, { sentinel, record: false });
  const x = tape.input(new Float32Array([1e30, 1]), [2]);
  tape.scope(() => scale(square(x), 0));
  assertEquals(await sentinel.first(), "square");
});

gpuTest("a tape shows its sentinel gradients as well", async (gpu) => {
  using sentinel = new Sentinel(gpu);
  using tape = new Tape(gpu, { sentinel });
  const x = tape.input(new Float32Array([1e-30]), [1]);
  tape.grad(scale(scale(square(x), 1e30), 1e30), [x], { last: true });
  assertEquals(await sentinel.first(), "scale backward");
});

gpuTest("a sentinel tells the first of more results than a block of flags holds", async (gpu) => {
  using sentinel = new Sentinel(gpu);
  using tape = new Tape(gpu, { record: false });
  const good = tape.input(new Float32Array([1]), [1]);
  const bad = tape.input(new Float32Array([Infinity]), [1]);
  const indices = tape.input(new Uint32Array([0x7f800000]), [1]);
  for (let i = 0; i < 4100; i++) sentinel.watch(`good ${i}`, good);
  sentinel.watch("indices", indices);
  sentinel.watch("bad", bad);
  sentinel.watch("worse", bad);
  assertEquals(await sentinel.first(), "bad");
});

import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { Gpu } from "./gpu.ts";

gpuTest("a buffer cannot be released twice, nor to a pool that does not own it", async (gpu) => {
  using other = await Gpu.open();
  const x = gpu.acquire(32);
  assertThrows(() => other.release(x), TypeError, "expected one that is live in this pool");
  gpu.release(x);
  assertThrows(() => gpu.release(x), TypeError, "Cannot release a buffer");
});

gpuTest("a released buffer serves requests of nearly its size", async () => {
  using gpu = await Gpu.open();
  const x = gpu.acquire(10_000);
  gpu.release(x);
  const slightlySmaller = gpu.acquire(9_800);
  assertStrictEquals(slightlySmaller.buffer, x.buffer);
  assertEquals(slightlySmaller.bytes, 9_800);
  gpu.release(slightlySmaller);
  for (const bytes of [8_000, 11_000]) {
    const far = gpu.acquire(bytes);
    assert(far.buffer !== x.buffer, `${bytes} bytes`);
    gpu.release(far);
  }
});

gpuTest(
  "which of several buffers is taken does not depend on the order of their return",
  async () => {
    using gpu = await Gpu.open();
    const slices = Array.from({ length: 4 }, () => gpu.acquire(1000));
    for (const slice of slices) gpu.release(slice);
    for (const order of [[2, 0, 3, 1], [3, 2, 1, 0]]) {
      const taken = slices.map(() => gpu.acquire(1000));
      assertEquals(
        taken.map(({ buffer }) => slices.findIndex((slice) => slice.buffer === buffer)),
        [
          0,
          1,
          2,
          3,
        ],
      );
      for (const i of order) gpu.release(taken[i]!);
    }
  },
);

gpuTest("live, pooled and peak bytes add up", async () => {
  using gpu = await Gpu.open();
  const x = gpu.acquire(1000), y = gpu.acquire(0);
  assert(x.buffer !== y.buffer);
  assertEquals(gpu.stats().liveBytes, 1024 + 256);
  gpu.release(x);
  assertEquals(gpu.stats().liveBytes, 256);
  assertEquals(gpu.stats().pooledBytes, 1024);
  gpu.release(gpu.acquire(2048));
  assertEquals(gpu.stats().peakBytes, 2048 + 1024 + 256);
  gpu.release(y);
  assertEquals(gpu.stats().liveBytes, 0);
  gpu.trim();
  gpu.release(gpu.acquire(256));
  assertEquals(gpu.stats().peakBytes, 2048 + 1024 + 256, "the peak stays");
});

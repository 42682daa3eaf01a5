import { assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { measurePeaks } from "./peaks.ts";

gpuTest("measurePeaks() divides the work of its kernels by their time", async (gpu) => {
  let recorded = 0;
  const peaks = await measurePeaks(gpu, async (record) => {
    const before = gpu.stats().dispatches;
    record();
    await gpu.settle();
    recorded += gpu.stats().dispatches - before;
    return 1024;
  });
  const invocations = gpu.adapter.software ? 4096 : 2 ** 20;
  assertEquals(peaks.gflops, 2 * invocations * 12 * 16 * 128 / 1e6 / 1024);
  assertEquals(peaks.gigabytes, 2 * 64 * 2 ** 20 / 1e6 / 1024);
  // The form whose lanes read least writes a sum for each vector.
  assertEquals(peaks.readGigabytes, 2 * 64 * 2 ** 20 / 1e6 / 1024);
  assertEquals(recorded, 15);
});

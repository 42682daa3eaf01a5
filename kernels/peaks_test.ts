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
  // The form with the most chains; forms of one vector a lane read as much as they write.
  const lanes = gpu.adapter.software ? 4096 : 2 ** 18;
  assertEquals(peaks.gflops, 2 * lanes * 64 * 4096 / 1e6 / 1024);
  assertEquals(peaks.readGigabytes, peaks.gigabytes);
  // Copies and reads of buffers and, where kernels read textures, of these too.
  const sources = gpu.leastTexelBytes < Infinity ? 2 : 1;
  assertEquals(recorded, 8 + sources * (8 + 8));
});

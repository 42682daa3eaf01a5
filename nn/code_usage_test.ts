import { assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { CodeUsage } from "./code_usage.ts";
import { Tape } from "./tape.ts";

gpuTest("CodeUsage counts codes over batches", async (gpu) => {
  using usage = new CodeUsage(gpu, 5);
  for (const batch of [[0, 4, 4], [4, 2, 9]]) {
    using tape = new Tape(gpu);
    usage.add(tape.input(Uint32Array.from(batch), [batch.length]));
  }
  assertEquals([...await usage.counts()], [1, 0, 1, 0, 3]);
  assertEquals(await usage.utilization(), 3 / 5);
});

import { assert, assertEquals, assertThrows } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { linearCombination } from "./elementwise.ts";
import { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import type { Dispatch } from "./recorder.ts";

gpuTest("Gpu.dry() counts what code takes and records, and holds nothing", async (gpu) => {
  const before = gpu.stats();
  const dispatches: Dispatch[] = [];
  using dry = Gpu.dry(gpu, { onDispatch: (dispatch) => dispatches.push(dispatch) });
  assert(dry.isDry && !gpu.isDry);
  assertEquals([dry.adapter, dry.threads], [gpu.adapter, gpu.threads]);
  const bytes = 2 ** 40;
  const huge = dry.acquire(bytes, "a test", "weights");
  const [a, b, y] = [0, 1, 2].map(() => dry.acquire(4000));
  dry.upload(a!, new Float32Array(1000).fill(1));
  linearCombination(dry, { a: a!, b: b!, y: y! });
  assertEquals(dispatches.map(({ kernel }) => kernel.name), ["elementwise"]);
  const [read] = await dry.read([y!]);
  assertEquals(new Float32Array(read!), new Float32Array(1000));
  dry.release(huge);
  const { liveBytes, peakLiveBytes, largestBufferBytes } = dry.stats();
  assertEquals([liveBytes, peakLiveBytes, largestBufferBytes], [
    3 * 4096,
    bytes + 3 * 4096,
    bytes,
  ]);
  assertEquals(dry.memoryUses.atPeak.weights, bytes);
  assertEquals(dry.memoryUses.most.workspace, 3 * 4096);
  const { createdBuffers, dispatches: run } = gpu.stats();
  assertEquals([createdBuffers, run], [before.createdBuffers, before.dispatches]);
});

gpuTest("Gpu.dry() refuses what the real device would refuse to bind", (gpu) => {
  const write = defineKernel(
    "write",
    `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn run() { y[0] = 1.0; }`,
  );
  using dry = Gpu.dry(gpu);
  const y = dry.acquire(2 * dry.maxBindingBytes);
  assertThrows(
    () => dry.run(write, "run", { buffers: { y }, workgroups: [1] }),
    RangeError,
    "the adapter's largest binding",
  );
});

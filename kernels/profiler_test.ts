import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { affine, fill } from "./elementwise.ts";
import { GpuError } from "./errors.ts";
import { Gpu } from "./gpu.ts";

const adapter = await navigator.gpu?.requestAdapter();
/** Tests of measurements need an adapter that measures. */
const measuredTest = adapter?.features.has("timestamp-query") ?? false ? gpuTest : () => {};

measuredTest(
  "a profile has every dispatch, in order, and counts what the device counts",
  async () => {
    using gpu = await Gpu.open();
    const x = gpu.acquire(4 * 1000), y = gpu.acquire(4 * 1000);
    fill(gpu, x, 1);
    const before = gpu.stats();
    gpu.startProfile();
    // More than one submit takes.
    for (let i = 0; i < 1500; i++) affine(gpu, { a: x, y, alpha: 2 });
    gpu.copy(y, x);
    gpu.upload(y, new Float32Array(1000));
    fill(gpu, y, 1);
    const [bytes] = await gpu.read([x]);
    const { dispatches, spans, counts, wallMs } = await gpu.finishProfile();
    assertEquals(new Float32Array(bytes!)[999], 2);
    const names = dispatches.map(({ operation }) => operation);
    assertEquals(names, [
      ...new Array(1500).fill("elementwise.affine"),
      "transfer.copy",
      "elementwise.fill",
      "transfer.copy",
    ]);
    assertEquals(dispatches[1500]!.bytes, 8000, "what is read and written");
    const after = gpu.stats();
    // The fill before the profile was submitted by its start.
    assertEquals(counts.dispatches, 1501);
    assertEquals(counts.dispatches, after.dispatches - before.dispatches);
    assertEquals(counts.submits, after.submits - before.submits - 1);
    assertEquals(counts.pipelines, 1);
    assertEquals([counts.copiedBytes, counts.uploadedBytes, counts.readBytes], [8000, 4000, 4000]);
    assertEquals(dispatches[0]!.bytes, 8000, "what is bound");
    const submits = spans.filter(({ activity }) => activity === "submit");
    assertEquals(submits.length, counts.submits);
    // Work runs one after the other, after its submit, within the time of the profile.
    let end = submits[0]!.beginMs;
    for (const { beginMs, durationMs } of dispatches) {
      assert(beginMs >= end - 1e-3, `${beginMs} begins before ${end}`);
      assert(durationMs >= 0);
      end = beginMs + durationMs;
    }
    const busyMs = dispatches.reduce((sum, { durationMs }) => sum + durationMs, 0);
    assert(busyMs <= wallMs, `${busyMs} of ${wallMs} ms`);
    for (const slice of [x, y]) gpu.release(slice);
  },
);

measuredTest("a profile keeps what a launcher says of its work", async (gpu) => {
  const y = gpu.acquire(32);
  gpu.startProfile();
  const { dispatches: none, counts } = await gpu.finishProfile();
  assertEquals([none.length, counts.submits], [0, 0]);
  gpu.startProfile();
  assertThrows(() => gpu.startProfile(), GpuError, "expected none, found a started one");
  fill(gpu, y, 1);
  const { dispatches } = await gpu.finishProfile();
  assertEquals(dispatches[0]!.operations, undefined);
  await assertRejects(() => gpu.finishProfile(), GpuError, "expected a started one, found none");
  gpu.release(y);
});

gpuTest("an adapter without timestamps refuses to profile", async () => {
  using gpu = await Gpu.open();
  Object.defineProperty(gpu, "features", { value: new Set() });
  assertThrows(
    () => gpu.startProfile(),
    GpuError,
    "expected an adapter with the feature timestamp-query",
  );
});

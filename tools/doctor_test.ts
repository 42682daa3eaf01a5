/** The doctor sums the checks of a family up, and goes on after a check that breaks the device. @module */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { defineKernel } from "../kernels/mod.ts";
import { fill } from "../kernels/elementwise.ts";
import { assertClose, EXACT, GRADIENT } from "../tests/close.ts";
import { type GpuTest, gpuTest } from "../tests/op_case.ts";
import { describeAdapter } from "./doctor/adapter.ts";
import { FAMILY_HEADING, formatFamily, runFamily } from "./doctor/family.ts";

const TENTH = { relative: 0, absolute: 0.1 };

/** Opens the adapter, and counts how often. */
function counted(): { open: () => Promise<Gpu>; opened: () => number } {
  let opened = 0;
  return { open: () => (opened++, Gpu.open()), opened: () => opened };
}

gpuTest("runFamily() keeps the worst comparison of values and of gradients", async () => {
  const { open, opened } = counted();
  const tests: GpuTest[] = [
    { name: "values", body: () => assertClose([1.01, 2.05, 3], [1, 2, 3], TENTH, "values") },
    { name: "better", body: () => assertClose([5], [5], EXACT, "copies") },
    { name: "gradients", body: () => assertClose([1000.5], [1000], GRADIENT, "gradients") },
    {
      name: "dispatch",
      body: (gpu) => {
        const y = gpu.acquire(32);
        fill(gpu, y, 1);
        gpu.release(y);
      },
    },
  ];
  const result = await runFamily("nn/test", tests, open);
  assertEquals([...result.operations], ["elementwise.fill"]);
  assertEquals(opened(), 1);
  assertMatch(formatFamily(result), /^nn\/test +4 +5\.0e-2 +1\.0e-1 +5\.0e-1 +1\.0e\+0 +ok$/);
  assertEquals(formatFamily(result).indexOf("ok"), FAMILY_HEADING.indexOf("verdict"));
});

gpuTest(
  "runFamily() reports what fails and opens the adapter again after a broken device",
  async () => {
    const broken = defineKernel(
      "broken",
      "@compute @workgroup_size(1) fn run() { let x: u32 = 1.5; }",
    );
    const { open, opened } = counted();
    const tests: GpuTest[] = [
      { name: "wrong", body: () => assertClose([3], [2], TENTH, "values") },
      { name: "broken", body: (gpu) => gpu.run(broken, "run", { buffers: {}, workgroups: [1] }) },
      { name: "leak", body: (gpu) => void gpu.acquire(32) },
      { name: "fine", body: () => assertClose([2], [2], EXACT, "values") },
    ];
    const result = await runFamily("nn/test", tests, open);
    assertEquals(opened(), 2);
    assertEquals(result.failures.map(({ test }) => test), ["wrong", "broken", "leak"]);
    const [head, ...lines] = formatFamily(result).split("\n");
    assertMatch(head!, /^nn\/test +4 +1\.0e\+0 +1\.0e-1 +FAILED 3$/);
    assert(lines[0]!.startsWith("  wrong: values: worst at index 0: expected 2, found 3"));
    assert(lines.some((line) => line.includes("broken: Cannot run broken.run on the GPU")));
  },
);

gpuTest("describeAdapter() names the adapter, its limits and its features", (gpu) => {
  const machine = { backend: "vulkan", budgetBytes: 3 * 2 ** 30, memoryBytes: 4 * 2 ** 30 };
  const text = describeAdapter(gpu, machine).join("\n");
  assert(text.includes(gpu.adapter.name));
  assertMatch(text, /^largest binding +\d+ MiB$/m);
  assertMatch(text, /^driver +of .*, through vulkan$/m);
  assertMatch(text, /^memory budget +3\.0 of 4\.0 GiB$/m);
  assertMatch(text, /^features +.*kernels compute in f32$/m);
});

import { assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { Arena, gather, runsOf } from "./arena.ts";

const TEST = { purpose: "test", use: "workspace" } as const;

gpuTest("Arena puts small slices side by side and gives large ones a buffer", (gpu) => {
  using arena = new Arena(gpu, [4, 300, 2 ** 21, 256, 2 ** 20], TEST);
  const [a, b, large, c, d] = arena.slices;
  assertEquals(arena.slices.map(({ bytes }) => bytes), [4, 300, 2 ** 21, 256, 2 ** 20]);
  assertEquals([a, b, c, d].map((slice) => slice!.offsetBytes), [0, 256, 768, 1024]);
  assertEquals(new Set([a, b, c, d].map((slice) => slice!.buffer)).size, 1);
  assertEquals(large!.buffer === a!.buffer, false);
});

gpuTest("Arena opens another buffer where one is full", (gpu) => {
  using arena = new Arena(gpu, Array<number>(65).fill(2 ** 20), TEST);
  assertEquals(arena.slices.map(({ offsetBytes }) => offsetBytes / 2 ** 20), [
    ...Array(64).keys(),
    0,
  ]);
  assertEquals(new Set(arena.slices.map(({ buffer }) => buffer)).size, 2);
});

gpuTest("runsOf() joins entries that are neighbors in all arenas", (gpu) => {
  using first = new Arena(gpu, [4, 4, 4, 260, 4], TEST);
  using second = new Arena(gpu, [4, 4, 2 ** 21, 4, 260, 4], TEST);
  const others = second.slices.filter((_, i) => i !== 2);
  const entries = first.slices.map((a, i) => ({ a, b: others[i]!, kind: i === 4 ? 1 : 0 }));
  const lengths = (skipped?: number): number[] =>
    runsOf(
      entries.filter((_, i) => i !== skipped),
      ({ a, b }) => [a, b],
      (one, other) => one.kind === other.kind,
    ).map((run) => run.entries.length);
  assertEquals(lengths(), [4, 1]);
  assertEquals(lengths(1), [1, 2, 1]);
  const [run] = runsOf(entries, ({ a, b }) => [a, b]);
  assertEquals(run!.slices.map(({ offsetBytes, bytes }) => [offsetBytes, bytes]), [
    [0, 1536],
    [0, 1536],
  ]);
});

gpuTest("gather() copies into the layout of an arena, with zeros between", async (gpu) => {
  using arena = new Arena(gpu, [4, 8, 4], TEST);
  using sources = new Arena(gpu, [8, 4], TEST);
  gpu.upload(sources.slices[0]!, new Float32Array([1, 2]));
  gpu.upload(sources.slices[1]!, new Float32Array([3]));
  const [, ...places] = arena.slices;
  const layout = { ...arena.slices[1]!, bytes: 512 };
  const parts = places.map((place, i) => ({ place, source: sources.slices[i]! }));
  const gathered = gather(gpu, layout, parts, "test");
  const [bytes] = await gpu.read([gathered]);
  gpu.release(gathered);
  const expected = new Float32Array(128);
  expected.set([1, 2]);
  expected[64] = 3;
  assertEquals(new Float32Array(bytes!), expected);
});

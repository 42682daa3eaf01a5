/** Tests of checkpoints: order of axes, what is refused, nothing changed by a refusal. @module */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { Parameter } from "../nn/tensor.ts";
import { gpuTest } from "../tests/op_case.ts";
import { ignoreFiles } from "../tests/tiny_run.ts";
import {
  type CheckpointEntry,
  loadCheckpoint,
  readCheckpointMetadata,
  readCount,
  readJson,
  readStepCounts,
  saveCheckpoint,
} from "./checkpoint.ts";
import { UserError } from "./errors.ts";
import { SafetensorsReader } from "./files/safetensors.ts";

const FORMAT = "tessera.test";

function fileTest(name: string, body: (gpu: Gpu, path: string) => Promise<void>): void {
  if (ignoreFiles) return void Deno.test({ name, ignore: true, fn: () => {} });
  gpuTest(name, async (gpu) => {
    const folder = await Deno.makeTempDir();
    try {
      await body(gpu, `${folder}/a.safetensors`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

function numbers(count: number, first = 0): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => first + i);
}

fileTest(
  "saveCheckpoint() writes the file's order of axes, which loadCheckpoint() reads",
  async (gpu, path) => {
    // Height 1, width 2, inputs 3, outputs 4 in memory; outputs, inputs, height, width in the file.
    using weight = new Parameter(gpu, [1, 2, 3, 4], { filePermutation: [2, 3, 1, 0] });
    using moment = new Parameter(gpu, [1, 2, 3, 4]);
    using count = new Parameter(gpu, [], { dtype: "u32" });
    using large = new Parameter(gpu, [1100, 4096]);
    weight.write(numbers(24));
    moment.write(numbers(24, 100));
    count.write(Uint32Array.of(7));
    large.write(numbers(large.size, -5));
    const entries: CheckpointEntry[] = [
      { name: "weight", parameter: weight },
      { name: "moment", parameter: moment, layout: weight },
      { name: "count", parameter: count },
      { name: "large", parameter: large },
    ];
    await saveCheckpoint(path, entries, { format: FORMAT, step: "3" });
    assertEquals(await readCheckpointMetadata(path), { format: FORMAT, step: "3" });
    using file = await SafetensorsReader.open(path);
    assertEquals(file.entry("weight").shape, [4, 3, 1, 2]);
    const inFile = await file.float32("weight");
    for (const [o, i, w] of [[0, 0, 1], [3, 2, 0], [1, 2, 1]] as const) {
      assertEquals(inFile[o * 6 + i * 2 + w], w * 12 + i * 4 + o);
    }
    assertEquals(await file.float32("moment"), inFile.map((value) => value + 100));
    for (const { parameter } of entries) {
      parameter.write(new (parameter.dtype === "u32" ? Uint32Array : Float32Array)(parameter.size));
    }
    await loadCheckpoint(path, entries, { format: FORMAT });
    assertEquals(await weight.read(), numbers(24));
    assertEquals(await moment.read(), numbers(24, 100));
    assertEquals(new Uint32Array((await count.read()).buffer)[0], 7);
    assertEquals(await large.read(), numbers(large.size, -5));
  },
);

fileTest(
  "loadCheckpoint() refuses what does not fit, naming it, and writes nothing",
  async (gpu, path) => {
    using a = new Parameter(gpu, [2]);
    using b = new Parameter(gpu, [3]);
    using wrong = new Parameter(gpu, [4]);
    for (const parameter of [a, b, wrong]) parameter.write(numbers(parameter.size, 1));
    const entries = [{ name: "a", parameter: a }, { name: "b", parameter: b }];
    await saveCheckpoint(path, entries, { format: FORMAT });
    for (const parameter of [a, b, wrong]) parameter.write(numbers(parameter.size, 50));
    const refusal = async (wanted: CheckpointEntry[], format = FORMAT): Promise<string> =>
      (await assertRejects(() => loadCheckpoint(path, wanted, { format }), UserError)).message;
    const start = `Cannot load ${path}: expected`;
    const tensors = `${start} the tensors of the configured model, found that`;
    assertEquals(
      await refusal(entries, "other"),
      `${start} a checkpoint of format other, found ${FORMAT}`,
    );
    assertEquals(
      await refusal([entries[0]!, { name: "b", parameter: wrong }]),
      `${tensors} b has shape [3] instead of [4]`,
    );
    assertEquals(
      await refusal([...entries, { name: "c", parameter: wrong }]),
      `${tensors} c is missing`,
    );
    assertEquals(await refusal([entries[0]!]), `${tensors} b is unknown to this model`);
    const many = Array.from({ length: 8 }, (_, i) => ({ name: `n${i}`, parameter: wrong }));
    assertEquals(
      await refusal([...entries, ...many]),
      `${tensors} n0 is missing, n1 is missing, n2 is missing, n3 is missing, n4 is missing, and 3 more`,
    );
    assertEquals(await a.read(), numbers(2, 50));
    await loadCheckpoint(path, [entries[0]!], { format: FORMAT, complete: false });
    assertEquals([await a.read(), await b.read()], [numbers(2, 1), numbers(3, 50)]);
  },
);

Deno.test("readCount(), readJson() and readStepCounts() refuse text that is damaged", () => {
  const metadata = { step: "7", bad: "x", counts: '{"a":3}', list: "[" };
  assertEquals(readCount(metadata, "step", "f"), 7);
  assertThrows(
    () => readCount(metadata, "bad", "f"),
    UserError,
    "Cannot load f: expected a whole number bad, found x",
  );
  assertThrows(() => readCount(metadata, "none", "f"), UserError, "found none");
  assertEquals(readStepCounts(metadata, "counts", "f"), { a: 3 });
  assertThrows(() => readStepCounts(metadata, "step", "f"), UserError, "expected counts as step");
  assertThrows(() => readJson(metadata, "list", "f"), UserError, "expected JSON as list, found [");
  assertThrows(() => readJson(metadata, "none", "f"), UserError, "found none");
});

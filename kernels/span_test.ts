import { assertClose, EXACT } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import type { Gpu } from "./gpu.ts";
import { defineSpanKernel, runSpans, type SpanOptions } from "./span.ts";

const kernel = defineSpanKernel(
  "doubling",
  `struct Params { count: u32, each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredPack>;
@group(0) @binding(2) var<storage, read_write> y: array<StoredPack>;
@compute @workgroup_size(THREADS)
fn run(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  for (var i = span.first; i < span.end; i += span.step) { y[i] = StoredPack(2.0 * Pack(x[i])); }
}`,
);

async function doubled(
  gpu: Gpu,
  values: Float32Array | Float16Array,
  walk: SpanOptions["walk"],
): Promise<Float32Array | Float16Array> {
  const half = values instanceof Float16Array;
  const x = { ...gpu.acquire(values.byteLength), half };
  const y = { ...gpu.acquire(values.byteLength), half };
  gpu.upload(x, values);
  runSpans(gpu, kernel, "run", { buffers: { x, y }, walk });
  const [bytes] = await gpu.read([y]);
  gpu.release(x);
  gpu.release(y);
  return half ? new Float16Array(bytes!) : new Float32Array(bytes!);
}

const walks = [1, 4, 256].flatMap((each) => [{ each, alone: false }, { each, alone: true }]);

for (const walk of [undefined, ...walks]) {
  gpuTest(
    `runSpans() reaches each element once, ${
      walk
        ? `${walk.each} packs of an invocation, ${walk.alone ? "alone" : "in turns"}`
        : "as by default"
    }`,
    async (gpu) => {
      for (const count of [1, 3, 4, 127, 130, 515, 1024, 4100, 70_001]) {
        const values = randomNumbers(count, `${count}`);
        const expected = values.map((value) => 2 * value);
        assertClose(await doubled(gpu, values, walk), expected, EXACT, `${count}`);
        if (!gpu.features.has("shader-f16")) continue;
        const halves = Float16Array.from(values);
        assertClose(
          await doubled(gpu, halves, walk),
          halves.map((value) => 2 * value),
          EXACT,
          `${count} of f16`,
        );
      }
    },
  );
}

gpuTest("runSpans() reaches each element of more than a cache holds once", async (gpu) => {
  const values = Float32Array.from({ length: 2 ** 22 + 4099 }, (_, i) => i % 1021);
  const expected = values.map((value) => 2 * value);
  assertClose(await doubled(gpu, values, undefined), expected, EXACT, `${values.length}`);
});

import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { cast } from "./cast.ts";
import { affine, fill, linearCombination } from "./elementwise.ts";
import { GpuError, GpuMemoryError } from "./errors.ts";
import { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { subslice } from "./slice.ts";
import { TEXEL_ROW } from "./texel_pool.ts";
import texelsText from "./texels.wgsl" with { type: "text" };

/** Writes `value + index` to each of `count` elements. */
const count = defineKernel(
  "count",
  `override THREADS: u32 = 64;
struct Params { count: u32, value: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(THREADS)
fn write(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * THREADS + lane;
  if (i < params.count) { y[i] = params.value + f32(i); }
}`,
);

/** Adds an integer to a number, which WGSL does not. */
const invalid = defineKernel(
  "invalid",
  `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn add() { y[0] = 1u + 2.5f; }`,
);

const params = { count: 8, value: 0.5 };

gpuTest("Gpu.run() writes what the kernel computes", async (gpu) => {
  const y = gpu.acquire(32);
  gpu.run(count, "write", { buffers: { y }, params, threads: 8 });
  const [bytes] = await gpu.read([y]);
  assertEquals([...new Float32Array(bytes!)], [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]);
  gpu.release(y);
});

gpuTest(
  "Gpu.run() names a buffer, a parameter, an entry point and a size that do not fit",
  (gpu) => {
    const y = gpu.acquire(32);
    const run = (options: Partial<Parameters<Gpu["run"]>[2]>, entryPoint = "write") => () =>
      gpu.run(count, entryPoint, { buffers: { y }, params, threads: 8, ...options });
    const refused: [() => void, string][] = [
      [run({ buffers: {} }), "Cannot run count.write: expected buffer y, found none"],
      [run({ buffers: { y, z: y } }), "Cannot run count.write: expected buffers among y, found z"],
      [run({ params: { count: 8 } }), "expected parameter value, found count"],
      [run({}, "read"), "Cannot run count.read: expected one of write, found read"],
      [() => gpu.run(count, "write", { buffers: { y }, params }), "expected threads or workgroups"],
      [
        () => gpu.run(invalid, "add", { buffers: { y }, threads: 1 }),
        "expected an override THREADS",
      ],
    ];
    for (const [body, message] of refused) assertThrows(body, TypeError, message);
    gpu.release(y);
  },
);

gpuTest("Gpu.run() rejects a buffer that it would read and write at once", (gpu) => {
  const x = gpu.acquire(512);
  assertThrows(
    () => affine(gpu, { a: subslice(x, 0, 256), y: subslice(x, 256, 256) }),
    TypeError,
    "Cannot run elementwise.affine: expected y, which is written, in a buffer of its own, found it in that of a",
  );
  gpu.release(x);
});

gpuTest("Gpu.run() rejects more workgroups than a dimension holds", (gpu) => {
  const y = gpu.acquire(32);
  const limit = gpu.limits.maxComputeWorkgroupsPerDimension;
  assertThrows(
    () => gpu.run(count, "write", { buffers: { y }, params, workgroups: [limit + 1] }),
    RangeError,
    `expected at most ${limit} workgroups a dimension, found ${limit + 1}`,
  );
  gpu.release(y);
});

gpuTest("Gpu.run() goes on in a second dimension where the first is full", async (gpu) => {
  const elements = gpu.limits.maxComputeWorkgroupsPerDimension + 3;
  const y = gpu.acquire(4 * elements);
  gpu.run(count, "write", {
    buffers: { y },
    params: { count: elements, value: 1 },
    constants: { THREADS: 1 },
    threads: elements,
  });
  const [bytes] = await gpu.read([y]);
  assert(new Float32Array(bytes!).every((value, i) => value === i + 1));
  gpu.release(y);
});

gpuTest("Gpu.run() rejects a binding above the limit", async () => {
  using gpu = await Gpu.open({ maxBindingBytes: 1024 });
  const y = gpu.acquire(2048);
  assertThrows(
    () => gpu.run(count, "write", { buffers: { y }, params, threads: 8 }),
    RangeError,
    "expected y of at most 1024 bytes (the adapter's largest binding), found 2048",
  );
  gpu.run(count, "write", { buffers: { y: subslice(y, 1024, 1024) }, params, threads: 8 });
  await gpu.settle();
});

const texelReader = defineKernel(
  "texel_reader",
  `${texelsText}
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var x: Texels;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(8) fn fetch(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { y[id.x] = texelAt(x, id.x); }
}`,
);

gpuTest("Gpu.copyToTexels() copies whole rows and a rest, and takes textures again", async () => {
  using gpu = await Gpu.open();
  for (const count of [1, TEXEL_ROW, 2 * TEXEL_ROW + 3, 2 * TEXEL_ROW + 5]) {
    const values = Float32Array.from({ length: 4 * count }, (_, i) => i + count);
    const x = gpu.acquire(values.byteLength + 16);
    gpu.upload(x, new Float32Array([...new Array(4).fill(NaN), ...values]));
    const y = gpu.acquire(values.byteLength);
    const copy = gpu.copyToTexels(subslice(x, 16, values.byteLength));
    gpu.run(texelReader, "fetch", {
      buffers: { x: copy, y },
      params: { count },
      workgroups: [Math.ceil(count / 8)],
    });
    gpu.release(copy);
    const [bytes] = await gpu.read([y]);
    assertEquals(new Float32Array(bytes!), values);
    gpu.release(x);
    gpu.release(y);
  }
  assertEquals(gpu.stats().liveBytes, 0);
  gpu.trim();
  assertEquals(gpu.stats().pooledBytes, 0, "released textures are gone");
});

gpuTest("Gpu.run() refuses f16 on a device without it", async () => {
  using gpu = await Gpu.open({ withoutFeatures: ["shader-f16"] });
  const x = gpu.acquire(16);
  const y = { ...gpu.acquire(8), half: true };
  assertThrows(
    () => cast(gpu, { x, y }),
    GpuError,
    "Cannot run cast.toHalf on the GPU: expected an adapter that computes with f16 (feature shader-f16)",
  );
});

gpuTest("a shader error surfaces at the next read and names kernel and entry point", async () => {
  using gpu = await Gpu.open();
  const y = gpu.acquire(16);
  gpu.run(invalid, "add", { buffers: { y }, workgroups: [1] });
  const error = await assertRejects(() => gpu.read([y]), GpuError, "Cannot run invalid.add");
  assertInstanceOf(error, GpuError);
  assertEquals(error.operation, "invalid.add");
  assertThrows(() => gpu.flush(), GpuError, "invalid.add");
});

gpuTest("a shader error surfaces when the device settles, too", async () => {
  using gpu = await Gpu.open();
  const y = gpu.acquire(16);
  gpu.run(invalid, "add", { buffers: { y }, workgroups: [1] });
  await assertRejects(() => gpu.settle(), GpuError, "Cannot run invalid.add");
});

gpuTest("a disposed Gpu refuses to go on", async () => {
  const gpu = await Gpu.open();
  const y = gpu.acquire(32);
  gpu[Symbol.dispose]();
  gpu[Symbol.dispose]();
  assertThrows(() => gpu.acquire(32), GpuError, "the Gpu was disposed");
  assertThrows(() => gpu.flush(), GpuError, "the Gpu was disposed");
  assertThrows(
    () => gpu.run(count, "write", { buffers: { y }, params, threads: 8 }),
    GpuError,
    "the Gpu was disposed",
  );
  assertThrows(() => gpu.upload(y, new Float32Array(8)), GpuError, "the Gpu was disposed");
  await assertRejects(() => gpu.read([y]), GpuError, "the Gpu was disposed");
  gpu.release(y);
});

gpuTest("a read that is pending when the Gpu is disposed fails or succeeds, and ends", async () => {
  const gpu = await Gpu.open();
  const y = gpu.acquire(32);
  fill(gpu, y, 3);
  const reading = gpu.read([y]).then(() => "read", (error) => error instanceof GpuError);
  gpu[Symbol.dispose]();
  assert(await reading);
});

gpuTest("an upload between two kernels does not overtake the first", async (gpu) => {
  const x = gpu.acquire(32), doubled = gpu.acquire(32), tripled = gpu.acquire(32);
  gpu.upload(x, new Float32Array(8).fill(1));
  affine(gpu, { a: x, y: doubled, alpha: 2 });
  gpu.upload(x, new Float32Array(8).fill(10));
  affine(gpu, { a: x, y: tripled, alpha: 3 });
  const parts = await gpu.read([doubled, tripled]);
  assertEquals(parts.map((part) => new Float32Array(part)[7]), [2, 30]);
  for (const slice of [x, doubled, tripled]) gpu.release(slice);
});

gpuTest("Gpu.read() gives what the slices held at the call", async (gpu) => {
  const x = gpu.acquire(32);
  fill(gpu, x, 1);
  const first = gpu.read([x]);
  fill(gpu, x, 2);
  const second = gpu.read([x]);
  gpu.release(x);
  const [one, two] = await Promise.all([first, second]);
  assertEquals([new Float32Array(one[0]!)[0], new Float32Array(two[0]!)[0]], [1, 2]);
});

gpuTest("Gpu.read() reads several slices of any length at once", async (gpu) => {
  const x = gpu.acquire(1024), z = gpu.acquire(12);
  gpu.upload(x, Float32Array.from({ length: 256 }, (_, i) => i));
  gpu.upload(z, new Uint32Array([7, 8, 9]));
  const parts = await gpu.read([subslice(x, 4, 12), z, subslice(x, 1020, 4)]);
  assertEquals(parts.map((part) => part.byteLength), [12, 12, 4]);
  assertEquals([...new Float32Array(parts[0]!)], [1, 2, 3]);
  assertEquals([...new Uint32Array(parts[1]!)], [7, 8, 9]);
  assertEquals([...new Float32Array(parts[2]!)], [255]);
  gpu.release(x);
  gpu.release(z);
});

gpuTest("Gpu.copy() and Gpu.clear() keep their place among kernels", async (gpu) => {
  const x = gpu.acquire(32), y = gpu.acquire(32);
  fill(gpu, x, 1);
  gpu.copy(x, y);
  fill(gpu, x, 2);
  gpu.clear(subslice(y, 16, 16));
  const z = gpu.acquire(32);
  linearCombination(gpu, { a: x, b: y, y: z });
  const [bytes] = await gpu.read([z]);
  assertEquals([...new Float32Array(bytes!)], [3, 3, 3, 3, 2, 2, 2, 2]);
  assertThrows(() => gpu.copy(subslice(x, 0, 16), y), RangeError, "expected 32 bytes, found 16");
  assertThrows(
    () => gpu.upload(x, new Float32Array(9)),
    RangeError,
    "Cannot upload 36 bytes: expected at most 32",
  );
  for (const slice of [x, y, z]) gpu.release(slice);
});

gpuTest("dispatches beyond the staging of parameters keep their own", async (gpu) => {
  const slices = Array.from({ length: 40 }, () => gpu.acquire(32));
  for (let round = 0; round < 250; round++) {
    for (const [i, y] of slices.entries()) fill(gpu, y, 100 * round + i);
  }
  const parts = await gpu.read(slices);
  assertEquals(parts.map((part) => new Float32Array(part)[0]), slices.map((_, i) => 24900 + i));
  for (const slice of slices) gpu.release(slice);
});

gpuTest("an allocation above the byte budget says what is left of it", async () => {
  using gpu = await Gpu.open({ byteBudget: 4096 });
  const x = gpu.acquire(3072);
  assertThrows(
    () => gpu.acquire(2048, "a tensor of shape [512]"),
    GpuMemoryError,
    "Cannot allocate 2048 bytes for a tensor of shape [512]: expected at most 1024 bytes left of the budget of 4096, 3072 are in use",
  );
  gpu.release(x);
  gpu.release(gpu.acquire(2048));
  assertEquals(gpu.stats().pooledBytes, 2048, "the pooled buffer made room");
});

gpuTest("an allocation above the adapter's largest buffer is refused", (gpu) => {
  assertThrows(() => gpu.acquire(2 ** 40), GpuMemoryError, "the largest buffer of this adapter");
});

gpuTest("a second identical step creates no buffer", async () => {
  using gpu = await Gpu.open();
  const step = (): void => {
    const x = gpu.acquire(4000), y = gpu.acquire(4000), z = gpu.acquire(100);
    fill(gpu, x, 1);
    affine(gpu, { a: x, y, alpha: 2 });
    for (const slice of [x, y, z]) gpu.release(slice);
  };
  step();
  const first = gpu.stats();
  step();
  const second = gpu.stats();
  assertEquals(second.createdBuffers, first.createdBuffers);
  assertEquals(first.createdBuffers, 3);
  assertEquals(second.peakBytes, 4096 + 4096 + 256);
  assertEquals(second.liveBytes, 0);
  assertEquals(second.pooledBytes, second.peakBytes);
  gpu.trim(5000);
  assertEquals(gpu.stats().pooledBytes, 4096 + 256);
  gpu.trim();
  assertEquals(gpu.stats().pooledBytes, 0);
  step();
  assertEquals(gpu.stats().createdBuffers, 6, "trimmed buffers are gone");
  await gpu.settle();
});

gpuTest("a trimmed buffer is destroyed", async () => {
  using gpu = await Gpu.open();
  const x = gpu.acquire(32);
  fill(gpu, x, 1);
  gpu.release(x);
  gpu.trim();
  await assertRejects(() => gpu.read([x]), GpuError, "destroyed");
});

gpuTest(
  "kernels with equal bindings and other parameters do not share bind groups",
  async (gpu) => {
    const source = (fields: string, value: string): string =>
      `struct Params { ${fields} }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn write() { y[0] = ${value}; }`;
    const few = defineKernel("few", source("a: f32", "params.a"));
    const many = defineKernel("many", source("a: f32, b: f32, c: f32, d: f32, e: f32", "params.e"));
    const y = gpu.acquire(32);
    gpu.run(few, "write", { buffers: { y }, params: { a: 1 }, workgroups: [1] });
    const parameters = { a: 1, b: 2, c: 3, d: 4, e: 5 };
    gpu.run(many, "write", { buffers: { y }, params: parameters, workgroups: [1] });
    const [bytes] = await gpu.read([y]);
    assertEquals(new Float32Array(bytes!)[0], 5);
    gpu.release(y);
  },
);

/**
 * What bounds kernels that move numbers: `deno run -A --preload tools/gpu_env.ts bench/loads_bench.ts` prints what loads and stores cost from
 * and to a cache, which is what kernels of a software adapter wait for, and exponentials; then how fast kernels copy and read long
 * arrays, and how fast one of 16 MiB is copied, which rows of softmax and RMS norm cannot beat.
 *
 * @module
 */

import { measureBandwidth } from "../kernels/bandwidth.ts";
import { Gpu } from "../kernels/gpu.ts";
import { defineKernel, type Kernel } from "../kernels/kernel.ts";
import special from "../kernels/special.wgsl" with { type: "text" };
import texels from "../kernels/texels.wgsl" with { type: "text" };
import { measureTime, type Time } from "./rate.ts";

/** Lanes of a workgroup: those that a software adapter runs in step. */
const LANES = 8;
/** Vectors of four numbers that a workgroup reads or writes again and again, 32 KiB: all read the same, and each writes its own. */
const VECTORS = 2048;
/** Turns of the loop of a lane. */
const TURNS = 1024;
/** Loads or stores of a turn. */
const EACH = 8;
const WORKGROUPS = 256;

/** One way to move numbers. */
interface Access {
  name: string;
  /** Declaration of the array. */
  declaration: string;
  /** Moves vector `at`, as WGSL; `s` is a sum of a lane. */
  statement: (at: string, s: string) => string;
  /** Numbers that a lane moves at a time. */
  numbers: number;
  /** Arrays of {@linkcode VECTORS}. */
  arrays: number;
}

const ACCESSES: readonly Access[] = [
  {
    name: "load of vec4f, storage buffer",
    declaration: "var<storage, read> x: array<vec4f>;",
    statement: (at, s) => `${s} += x[${at}];`,
    numbers: 4,
    arrays: 1,
  },
  {
    name: "load of f32, storage buffer",
    declaration: "var<storage, read> x: array<f32>;",
    statement: (at, s) => `${s} += vec4f(x[${at}]);`,
    numbers: 1,
    arrays: 1,
  },
  {
    name: "load of vec4f, texture",
    declaration: "var x: Texels;",
    statement: (at, s) => `${s} += texelAt(x, ${at});`,
    numbers: 4,
    arrays: 1,
  },
  {
    name: "store of vec4f, storage buffer",
    declaration: "var<storage, read_write> x: array<vec4f>;",
    statement: (at, s) => `x[${at}] = ${s};`,
    numbers: 4,
    arrays: WORKGROUPS,
  },
];

const SUMS = Array.from({ length: EACH }, (_, i) => `s${i}`);

function kernelOf({ declaration, statement, arrays }: Access): Kernel {
  const moves = SUMS.map((s, i) => statement(`first + ${i * LANES}u`, s)).join("\n    ");
  return defineKernel(
    "accesses",
    `${texels}
@group(0) @binding(0) ${declaration}
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(${LANES})
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${SUMS.map((s) => `var ${s} = vec4f();`).join(" ")}
  for (var turn = 0u; turn < ${TURNS}u; turn++) {
    let first = group.x % ${arrays}u * ${VECTORS}u + turn * ${LANES * EACH}u % ${VECTORS}u + lane;
    ${moves}
  }
  y[group.x * ${LANES}u + lane] = ${SUMS.join(" + ")};
}`,
  );
}

/** As softmax takes them, in registers. */
const exponentials = defineKernel(
  "exponentials",
  `${special}
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(${LANES})
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${SUMS.map((s, i) => `var ${s} = -f32(lane + ${i}u);`).join(" ")}
  for (var turn = 0u; turn < ${TURNS}u; turn++) {
    ${SUMS.map((s) => `${s} = -expOfNegative(${s});`).join("\n    ")}
  }
  y[group.x * ${LANES}u + lane] = ${SUMS.join(" + ")};
}`,
);

/** Bytes of a matrix of 4096 rows of 1024 numbers. */
const ROWS_BYTES = 2 ** 24;

if (import.meta.main) {
  using gpu = await Gpu.open();
  console.log(gpu.adapter.name);
  const y = gpu.acquire(16 * WORKGROUPS * LANES);
  const count = WORKGROUPS * TURNS * EACH;
  const print = (name: string, { ms, processorMs }: Time, numbers: number): void =>
    console.log(
      `${name.padEnd(32)} ${
        (processorMs * 1e6 / count).toFixed(1).padStart(7)
      } ns of a processor for ${LANES} lanes  ${
        (count * LANES * numbers / ms / 1e6).toFixed(2).padStart(6)
      } G numbers/s`,
    );
  for (const access of ACCESSES) {
    const x = gpu.acquire(16 * VECTORS * access.arrays);
    gpu.clear(x);
    const bound = access.declaration.includes("Texels") ? gpu.copyToTexels(x) : x;
    const kernel = kernelOf(access);
    const time = await measureTime(
      gpu,
      () => gpu.run(kernel, "run", { buffers: { x: bound, y }, workgroups: [WORKGROUPS] }),
    );
    print(access.name, time, access.numbers);
    if (bound !== x) gpu.release(bound);
    gpu.release(x);
  }
  const time = await measureTime(
    gpu,
    () => gpu.run(exponentials, "run", { buffers: { y }, workgroups: [WORKGROUPS] }),
  );
  print("exponential of f32", time, 1);
  gpu.release(y);
  await printBandwidth("buffers", Infinity);
  await printBandwidth("buffers, or textures filled before", undefined);
  await printRowsBound();
}

/** Prints the best rates of kernels that copy and that read 64 MiB. */
async function printBandwidth(
  source: string,
  leastTexelBytes: number | undefined,
): Promise<void> {
  using gpu = await Gpu.open(leastTexelBytes === undefined ? {} : { leastTexelBytes });
  const { copy, read } = await measureBandwidth(gpu, clock(gpu));
  console.log(
    `from ${source}: ${copy.toFixed(1)} GB/s of copies, ${read.toFixed(1)} GB/s of reads`,
  );
}

/** Prints how long a copy of a matrix takes: by a kernel from a buffer, or into a texture and from there by a kernel. */
async function printRowsBound(): Promise<void> {
  const kernelMs = async (gpu: Gpu): Promise<number> =>
    2 * ROWS_BYTES / 1e6 / (await measureBandwidth(gpu, clock(gpu), ROWS_BYTES)).copy;
  using buffers = await Gpu.open({ leastTexelBytes: Infinity });
  const fromBuffer = await kernelMs(buffers);
  using gpu = await Gpu.open();
  const x = gpu.acquire(ROWS_BYTES);
  gpu.clear(x);
  const intoTexture = await clock(gpu)(() => gpu.release(gpu.copyToTexels(x)));
  gpu.release(x);
  const fromTexture = await kernelMs(gpu);
  console.log(
    `copy of ${ROWS_BYTES / 2 ** 20} MiB: ${fromBuffer.toFixed(2)} ms by a kernel from a buffer, ` +
      `${intoTexture.toFixed(2)} ms into a texture and ${
        fromTexture.toFixed(2)
      } by a kernel from there`,
  );
}

function clock(gpu: Gpu): (record: () => void) => Promise<number> {
  return async (record) => (await measureTime(gpu, record)).ms;
}

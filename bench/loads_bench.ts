/**
 * What loads and stores cost where they come from a cache: `deno run -A --preload tools/gpu_env.ts bench/loads_bench.ts`. On a software
 * adapter this, not the memory, is what kernels wait for.
 *
 * @module
 */

import { measureBandwidth } from "../kernels/bandwidth.ts";
import { Gpu } from "../kernels/gpu.ts";
import { defineKernel, type Kernel } from "../kernels/kernel.ts";
import texels from "../kernels/texels.wgsl" with { type: "text" };
import { measureTime } from "./rate.ts";

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

function kernelOf({ declaration, statement, arrays }: Access): Kernel {
  const sums = Array.from({ length: EACH }, (_, i) => `s${i}`);
  const moves = sums.map((s, i) => statement(`first + ${i * LANES}u`, s)).join("\n    ");
  return defineKernel(
    "accesses",
    `${texels}
@group(0) @binding(0) ${declaration}
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(${LANES})
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${sums.map((s) => `var ${s} = vec4f();`).join(" ")}
  for (var turn = 0u; turn < ${TURNS}u; turn++) {
    let first = group.x % ${arrays}u * ${VECTORS}u + turn * ${LANES * EACH}u % ${VECTORS}u + lane;
    ${moves}
  }
  y[group.x * ${LANES}u + lane] = ${sums.join(" + ")};
}`,
  );
}

if (import.meta.main) {
  using gpu = await Gpu.open();
  console.log(gpu.adapter.name);
  const y = gpu.acquire(16 * WORKGROUPS * LANES);
  for (const access of ACCESSES) {
    const x = gpu.acquire(16 * VECTORS * access.arrays);
    gpu.clear(x);
    const bound = access.declaration.includes("Texels") ? gpu.copyToTexels(x) : x;
    const kernel = kernelOf(access);
    const { ms, processorMs } = await measureTime(
      gpu,
      () => gpu.run(kernel, "run", { buffers: { x: bound, y }, workgroups: [WORKGROUPS] }),
    );
    const count = WORKGROUPS * TURNS * EACH;
    console.log(
      `${access.name.padEnd(32)} ${
        (processorMs * 1e6 / count).toFixed(1).padStart(7)
      } ns of a processor for ${LANES} lanes  ${
        (count * LANES * access.numbers / ms / 1e6).toFixed(2).padStart(6)
      } G numbers/s`,
    );
    if (bound !== x) gpu.release(bound);
    gpu.release(x);
  }
  gpu.release(y);
  await printBandwidth("buffers", Infinity);
  await printBandwidth("buffers, or textures filled before", undefined);
}

/** Prints the best rates of kernels that copy and that read 64 MiB. */
async function printBandwidth(
  source: string,
  leastTexelBytes: number | undefined,
): Promise<void> {
  using gpu = await Gpu.open(leastTexelBytes === undefined ? {} : { leastTexelBytes });
  const { copy, read } = await measureBandwidth(
    gpu,
    async (record) => (await measureTime(gpu, record)).ms,
  );
  console.log(
    `from ${source}: ${copy.toFixed(1)} GB/s of copies, ${read.toFixed(1)} GB/s of reads`,
  );
}

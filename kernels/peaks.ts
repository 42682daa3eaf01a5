/** What the adapter reaches at best: multiply-adds in registers, copies, reads. @module */

import type { Gpu } from "./gpu.ts";
import { defineKernel, type Kernel } from "./kernel.ts";
import { measureBandwidth } from "./bandwidth.ts";

/** The rates that kernels are measured against. */
export interface Peaks {
  /** Billions of floating-point operations a second; a multiply-add counts two. */
  readonly gflops: number;
  /** Billions of bytes a second of a kernel that copies, read and written ones both counted. */
  readonly gigabytes: number;
  /** Billions of bytes a second of a kernel that only reads. */
  readonly readGigabytes: number;
}

/** A form of chains of multiply-adds, `c = c factor + 1`. Which is fastest depends on registers, latency and the cost of a loop. */
interface Chains {
  /** Type of a chain. */
  type: "f32" | "vec4f";
  /** Independent chains of a lane, to hide the latency of a multiply-add. */
  count: number;
  /** Multiply-adds of each chain in an iteration: at its end a software adapter moves every chain. */
  unrolled: number;
}

const FORMS: readonly Chains[] = [
  { type: "f32", count: 8, unrolled: 16 },
  { type: "f32", count: 10, unrolled: 16 },
  { type: "f32", count: 12, unrolled: 16 },
  { type: "f32", count: 12, unrolled: 32 },
  { type: "f32", count: 64, unrolled: 1 },
  { type: "vec4f", count: 2, unrolled: 16 },
  { type: "vec4f", count: 3, unrolled: 16 },
  { type: "vec4f", count: 8, unrolled: 8 },
];
/** Multiply-adds of a chain, about. */
const STEPS = 4096;
/** Lanes that keep a software adapter, or a GPU, busy. */
const LANES = { software: 4096, gpu: 2 ** 18 };

function multiplyAdds({ type, count, unrolled }: Chains): Kernel {
  const chains = Array.from({ length: count }, (_, i) => `c${i}`);
  const step = chains.map((name) => `${name} = fma(${name}, factor, ${type}(1.0));`).join(" ");
  return defineKernel(
    "multiply_adds",
    `override THREADS: u32 = 64;
struct Params { factor: f32, iterations: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<${type}>;
@compute @workgroup_size(THREADS)
fn run(@builtin(global_invocation_id) id: vec3u) {
  let factor = ${type}(params.factor);
  ${chains.map((name, i) => `var ${name} = ${type}(f32(id.x) + ${i}.0);`).join("\n  ")}
  for (var i = 0u; i < params.iterations; i++) {
    ${Array(unrolled).fill(step).join("\n    ")}
  }
  y[id.x] = ${chains.join(" + ")};
}`,
  );
}

/** Measures the work that a function records, in milliseconds. */
type Stopwatch = (record: () => void) => Promise<number>;

async function measureMultiplyAdds(gpu: Gpu, time: Stopwatch): Promise<number> {
  const lanes = LANES[gpu.adapter.software ? "software" : "gpu"];
  const y = gpu.acquire(16 * lanes);
  let best = 0;
  for (const form of FORMS) {
    const iterations = STEPS / form.unrolled;
    const kernel = multiplyAdds(form);
    const ms = await time(() =>
      gpu.run(kernel, "run", {
        buffers: { y },
        params: { factor: 0.5, iterations },
        workgroups: [lanes / gpu.threads],
      })
    );
    const width = form.type === "f32" ? 1 : 4;
    best = Math.max(best, 2 * lanes * width * form.count * STEPS / 1e6 / ms);
  }
  gpu.release(y);
  return best;
}

/**
 * Measures the adapter.
 *
 * @param gpu The device.
 * @param time Measures the work that a function records, in milliseconds.
 * @returns Its best rates, each over several forms of kernels.
 */
export async function measurePeaks(
  gpu: Gpu,
  time: (record: () => void) => Promise<number>,
): Promise<Peaks> {
  const gflops = await measureMultiplyAdds(gpu, time);
  const { copy, read } = await measureBandwidth(gpu, time);
  return { gflops, gigabytes: copy, readGigabytes: read };
}

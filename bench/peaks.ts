/** What the adapter reaches at best: multiply-adds in registers, copies, reads. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { defineKernel } from "../kernels/kernel.ts";
import { measureBandwidth } from "./bandwidth.ts";
import { measureTime } from "./rate.ts";

/** The rates that kernels are measured against. */
export interface Peaks {
  /** Billions of floating-point operations a second; a multiply-add counts two. */
  readonly gflops: number;
  /** Billions of bytes a second of a kernel that copies, read and written ones both counted. */
  readonly gigabytes: number;
  /** Billions of bytes a second of a kernel that only reads. */
  readonly readGigabytes: number;
}

/** Independent chains of a lane, enough to hide the latency of a multiply-add. */
const CHAINS = 64;
/** Multiply-adds of a chain. */
const STEPS = 4096;
const LANES = 4096;

const chains = Array.from({ length: CHAINS }, (_, i) => `c${i}`);
const multiplyAdds = defineKernel(
  "multiply_adds",
  `override THREADS: u32 = 64;
struct Params { factor: f32, steps: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(THREADS)
fn run(@builtin(global_invocation_id) id: vec3u) {
  ${chains.map((name, i) => `var ${name} = f32(id.x) + ${i}.0;`).join("\n  ")}
  for (var step = 0u; step < params.steps; step++) {
    ${chains.map((name) => `${name} = fma(${name}, params.factor, 1.0);`).join("\n    ")}
  }
  y[id.x] = ${chains.join(" + ")};
}`,
);

/**
 * Measures the adapter.
 *
 * @param gpu The device.
 * @returns Its best rates.
 */
export async function measurePeaks(gpu: Gpu): Promise<Peaks> {
  const y = gpu.acquire(4 * LANES);
  const arithmetic = await measureTime(gpu, () =>
    gpu.run(multiplyAdds, "run", {
      buffers: { y },
      params: { factor: 0.5, steps: STEPS },
      workgroups: [LANES / gpu.threads],
    }));
  gpu.release(y);
  const { copy, read } = await measureBandwidth(gpu);
  return {
    gflops: 2 * LANES * CHAINS * STEPS / 1e6 / arithmetic.ms,
    gigabytes: copy,
    readGigabytes: read,
  };
}

/** The rate at which kernels read memory, the bound of sampling. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { defineKernel, type Kernel } from "../kernels/kernel.ts";
import { subslice } from "../kernels/slice.ts";
import { TEXEL_BYTES } from "../kernels/texel_pool.ts";
import texels from "../kernels/texels.wgsl" with { type: "text" };
import { measureTime } from "./rate.ts";

/** What is read in turn: together more than caches hold. */
const BUFFERS = 4;
const BUFFER_BYTES = 2 ** 26;

/** A way to read: a lane takes `loads` vectors of four numbers, which lie behind each other or, by the step of a workgroup, apart. */
interface Reading {
  threads: number;
  loads: number;
  /** Loads of one pass of its loop. */
  unrolled: number;
  apart: boolean;
}

const READINGS: readonly Reading[] = [8, 64].flatMap((threads) =>
  [[16, 16], [256, 8]].flatMap(([loads, unrolled]) =>
    [false, true].map((apart) => ({ threads, loads: loads!, unrolled: unrolled!, apart }))
  )
);

function readingKernel({ threads, loads, unrolled, apart }: Reading): Kernel {
  const at = (i: number): string =>
    apart
      ? `w.x * ${threads * loads}u + (k + ${i}u) * ${threads}u + l`
      : `(w.x * ${threads}u + l) * ${loads}u + k + ${i}u`;
  const sum = Array.from({ length: unrolled }, (_, i) => `x[${at(i)}]`).join(" + ");
  return defineKernel(
    `read_${threads}_${loads}_${apart ? "apart" : "behind"}`,
    `@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(${threads})
fn run(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  var sum = vec4f();
  for (var k = 0u; k < ${loads}u; k += ${unrolled}u) { sum += ${sum}; }
  // Never so, but compilers do not know that.
  if (sum.x + sum.y + sum.z + sum.w == 1.2345e30) { y[l] = 1.0; }
}`,
  );
}

/** Texels of a workgroup. */
const TEXEL_RUN = 2048;
/** Each lane has its own run of texels. */
const texelKernel = defineKernel(
  "read_texels",
  `${texels}
@group(0) @binding(0) var x: Texels;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(8)
fn run(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  var sum = vec4f();
  let begin = w.x * ${TEXEL_RUN}u + l * ${TEXEL_RUN / 8}u;
  for (var k = begin; k < begin + ${TEXEL_RUN / 8}u; k += 16u) {
    sum += ${Array.from({ length: 16 }, (_, i) => `texelAt(x, k + ${i}u)`).join(" + ")};
  }
  if (sum.x + sum.y + sum.z + sum.w == 1.2345e30) { y[l] = 1.0; }
}`,
);
const TEXEL_WORKGROUPS = BUFFER_BYTES / TEXEL_BYTES / TEXEL_RUN;

/** Uniform bindings of a dispatch, and bytes of each. */
const WINDOWS = 8;
const WINDOW_BYTES = 2 ** 16;

const names = Array.from({ length: WINDOWS }, (_, i) => `x${i}`);
const windowKernel = defineKernel(
  "read_uniform",
  `${
    names.map((name, i) =>
      `@group(0) @binding(${i + 1}) var<uniform> ${name}: array<vec4f, ${WINDOW_BYTES / 16}>;`
    ).join("\n")
  }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(8)
fn run(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  var sum = vec4f();
  let begin = w.x * 1024u + l;
  ${
    names.map((name) =>
      `for (var k = begin; k < begin + 1024u; k += 128u) { sum += ${
        Array.from({ length: 16 }, (_, i) => `${name}[k + ${i * 8}u]`).join(" + ")
      }; }`
    ).join("\n  ")
  }
  if (sum.x + sum.y + sum.z + sum.w == 1.2345e30) { y[l] = 1.0; }
}`,
);

/**
 * Measures kernels that only read, from storage buffers, uniform ones and textures.
 *
 * @param gpu The device.
 * @returns Bytes a second of the best one, by wall clock and by the time that processors worked, counted as if all worked.
 */
export async function measureReadBandwidth(
  gpu: Gpu,
): Promise<{ wall: number; processor: number }> {
  const buffers = Array.from({ length: BUFFERS }, () => gpu.acquire(BUFFER_BYTES));
  for (const buffer of buffers) gpu.clear(buffer);
  const y = gpu.acquire(1024);
  const best = { wall: 0, processor: 0 };
  const measure = async (record: (turn: number) => void): Promise<void> => {
    let turn = 0;
    const { ms, processorMs } = await measureTime(gpu, () => record(turn++ % BUFFERS));
    const processors = navigator.hardwareConcurrency;
    best.wall = Math.max(best.wall, BUFFER_BYTES / ms * 1000);
    best.processor = Math.max(best.processor, BUFFER_BYTES / processorMs * 1000 * processors);
  };
  for (const reading of READINGS) {
    const kernel = readingKernel(reading);
    const workgroups = [BUFFER_BYTES / 16 / reading.loads / reading.threads] as const;
    await measure((turn) =>
      gpu.run(kernel, "run", { buffers: { x: buffers[turn]!, y }, workgroups })
    );
  }
  await measure((turn) => {
    for (let at = 0; at < BUFFER_BYTES; at += WINDOWS * WINDOW_BYTES) {
      const windows = names.map((name, i) => [
        name,
        subslice(buffers[turn]!, at + i * WINDOW_BYTES, WINDOW_BYTES),
      ]);
      gpu.run(windowKernel, "run", {
        buffers: { ...Object.fromEntries(windows), y },
        workgroups: [WINDOW_BYTES / 16 / 1024],
      });
    }
  });
  const textures = buffers.map((buffer) => gpu.copyToTexels(buffer));
  await measure((turn) =>
    gpu.run(texelKernel, "run", {
      buffers: { x: textures[turn]!, y },
      workgroups: [TEXEL_WORKGROUPS],
    })
  );
  for (const slice of [...textures, ...buffers, y]) gpu.release(slice);
  return best;
}

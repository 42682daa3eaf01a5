/** The bandwidth that kernels reach at best on this adapter: several forms of a copy and of a sum, from buffers and textures, the best of each. @module */

import type { Gpu } from "./gpu.ts";
import { defineKernel, type Kernel } from "./kernel.ts";
import texels from "./texels.wgsl" with { type: "text" };

/** Billions of bytes a second. */
export interface Bandwidth {
  /** Of a kernel that copies, read and written bytes both counted. */
  readonly copy: number;
  /** Of a kernel that only reads. */
  readonly read: number;
}

/** A lane of a workgroup of `lanes` handles `each` vectors of four numbers, `unrolled` at a time. */
interface Form {
  lanes: number;
  each: number;
  unrolled: number;
  /** Whether its vectors lie side by side; else its neighbors' lie between them. */
  alone?: boolean;
}

/** Software adapters like few lanes that do much, GPUs many that do little. */
const FORMS: readonly Form[] = [
  { lanes: 8, each: 8, unrolled: 8 },
  { lanes: 8, each: 64, unrolled: 16 },
  { lanes: 8, each: 256, unrolled: 8 },
  { lanes: 8, each: 1024, unrolled: 4, alone: true },
  { lanes: 64, each: 1, unrolled: 1 },
  { lanes: 64, each: 8, unrolled: 8 },
  { lanes: 256, each: 1, unrolled: 1 },
  { lanes: 256, each: 16, unrolled: 4 },
];
/** Far more than a cache holds: of a GPU some 50 MiB. */
const SOFTWARE_BYTES = 2 ** 26, GPU_BYTES = 2 ** 29;
/** Workgroups of a dispatch in its first dimension. */
const ROW = 256;

const times = (count: number, text: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => text(i)).join("\n    ");

function loop(form: Form, body: (at: string, i: number) => string): string {
  const { lanes, each, unrolled, alone = false } = form;
  const [lanesApart, vectorsApart] = alone ? [each, 1] : [1, lanes];
  return `let first = (group.y * ${ROW}u + group.x) * ${lanes * each}u + lane * ${lanesApart}u;
  for (var step = 0u; step < ${each / unrolled}u; step++) {
    let at = first + step * ${vectorsApart * unrolled}u;
    ${times(unrolled, (i) => body(`at + ${i * vectorsApart}u`, i))}
  }`;
}

/** Where a kernel reads: what is declared, and how vector `at` is loaded. */
interface Source {
  declaration: string;
  load: (at: string) => string;
}

const BUFFER: Source = {
  declaration: "var<storage, read> x: array<vec4f>;",
  load: (at) => `x[${at}]`,
};
const TEXTURE: Source = {
  declaration: "var x: Texels;",
  load: (at) => `texelAt(x, ${at})`,
};

function kernelOf(name: string, form: Form, source: Source, body: string): Kernel {
  return defineKernel(
    `${name}_${form.lanes}x${form.each}${form.alone ? "_alone" : ""}`,
    `${texels}
@group(0) @binding(0) ${source.declaration}
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(${form.lanes})
fn run(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${body}
}`,
  );
}

function copyKernel(form: Form, source: Source): Kernel {
  return kernelOf("copy", form, source, loop(form, (at) => `y[${at}] = ${source.load(at)};`));
}

function readKernel(form: Form, source: Source): Kernel {
  const { lanes, unrolled } = form;
  return kernelOf(
    "read",
    form,
    source,
    `${times(unrolled, (i) => `var s${i} = vec4f(0.0);`)}
  ${loop(form, (at, i) => `s${i} += ${source.load(at)};`)}
  y[(group.y * ${ROW}u + group.x) * ${lanes}u + lane] = ${
      Array.from({ length: unrolled }, (_, i) => `s${i}`).join(" + ")
    };`,
  );
}

/**
 * Measures the adapter.
 *
 * @param gpu The device.
 * @param time Measures the work that a function records, in milliseconds.
 * @param wantedBytes Length of the array, a power of two from 128 KiB on. Default: far more than a cache holds.
 * @returns Its best rates.
 */
export async function measureBandwidth(
  gpu: Gpu,
  time: (record: () => void) => Promise<number>,
  wantedBytes: number = gpu.adapter.software ? SOFTWARE_BYTES : GPU_BYTES,
): Promise<Bandwidth> {
  const bytes = Math.min(wantedBytes, 2 ** Math.floor(Math.log2(gpu.maxBindingBytes)));
  const x = gpu.acquire(bytes), y = gpu.acquire(bytes);
  gpu.clear(x);
  const sources = [{ source: BUFFER, x }];
  if (gpu.leastTexelBytes < Infinity) sources.push({ source: TEXTURE, x: gpu.copyToTexels(x) });
  const best = async (
    make: (form: Form, source: Source) => Kernel,
    moved: (form: Form) => number,
  ) => {
    let rate = 0;
    for (const form of FORMS) {
      for (const { source, x } of sources) {
        const kernel = make(form, source);
        const groups = bytes / 16 / form.lanes / form.each, rows = Math.max(1, groups / ROW);
        const ms = await time(() =>
          gpu.run(kernel, "run", { buffers: { x, y }, workgroups: [groups / rows, rows] })
        );
        rate = Math.max(rate, moved(form) / 1e6 / ms);
      }
    }
    return rate;
  };
  const copy = await best(copyKernel, () => 2 * bytes);
  const read = await best(readKernel, ({ each }) => bytes * (1 + 1 / each));
  for (const slice of [...sources.map(({ x }) => x), y]) gpu.release(slice);
  return { copy, read };
}

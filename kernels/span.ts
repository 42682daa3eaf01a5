/** Runs kernels over equally long arrays of any length, several packs of four elements an invocation. @module */

import type { Gpu, RunOptions } from "./gpu.ts";
import { definePackedKernel, type PackedInput, type PackedKernel, runPacked } from "./pack.ts";
import { elementBytes, elementCount, type Slice, sliceRows, splitRows, subslice } from "./slice.ts";
import span from "./span.wgsl" with { type: "text" };
import { streamLimits } from "./texel_pool.ts";

/** Packs of an invocation, at least. */
const LEAST_PACKS = 4;
/** The same on a software adapter at most: a workgroup's start costs it time, and each of its cores best reads one stretch of memory. */
const MOST_PACKS = 256;
/** Workgroups that keep the cores of a software adapter busy. */
const BUSY_WORKGROUPS = 64;
/**
 * Packs of an array that no cache of a processor holds. What is fetched ahead from memory is fetched by pages, so each lane then walks a
 * stretch of several: a third faster where lanes load from buffers. From a cache it is a tenth slower.
 */
const MEMORY_PACKS = 2 ** 20, MEMORY_STRETCH = 1024;
/** A part of an array that starts at a multiple of this many elements is one that every adapter can bind. */
const ALIGNED_ELEMENTS = 128;

/** Bytes of an array that are copied into a texture at a time: a processor's cache keeps them until they are read. */
const TEXEL_PART_BYTES = 2 ** 22;

/**
 * Defines a kernel over `Pack` whose invocations take the packs that `spanOf` gives, of `params.count` ones `params.each`.
 *
 * @param name Name of the kernel in labels, errors and profiles.
 * @param source Its WGSL.
 * @param inputs As for {@linkcode definePackedKernel}.
 * @returns Both widths.
 */
export function defineSpanKernel(
  name: string,
  source: string,
  inputs?: Readonly<Record<string, PackedInput>>,
): PackedKernel {
  return definePackedKernel(name, `${span}\n${source}`, inputs, { streams: true });
}

/** What {@linkcode runSpans} runs. */
export interface SpanOptions {
  /** Equally long arrays by variable name, all f32 or all f16. */
  buffers: Readonly<Record<string, Slice>>;
  /** What all invocations read. */
  whole?: Readonly<Record<string, Slice>>;
  /** Every field of `struct Params` but `count` and `each`. */
  params?: RunOptions["params"];
  /** Values of `override` constants. */
  constants?: RunOptions["constants"];
  /** Packs of an invocation, and whether they lie side by side. Default: by the adapter and the length. */
  walk?: Walk | undefined;
}

/** How an invocation walks. */
interface Walk {
  /** Its packs. */
  each: number;
  /** Whether they lie side by side; else those of a workgroup's invocations take turns. */
  alone: boolean;
}

function walkOf(gpu: Gpu, packs: number): Walk {
  if (!gpu.adapter.software) return { each: LEAST_PACKS, alone: false };
  if (packs >= MEMORY_PACKS && gpu.leastStreamBytes === Infinity) {
    return { each: MEMORY_STRETCH, alone: true };
  }
  const each = 2 ** Math.floor(Math.log2(packs / gpu.threads / BUSY_WORKGROUPS));
  return { each: Math.min(MOST_PACKS, Math.max(LEAST_PACKS, each)), alone: false };
}

/**
 * Runs an entry point over all elements: the last ones, where their number is no multiple of four, one by one.
 *
 * @param gpu The device.
 * @param kernel The kernel.
 * @param entryPoint Its entry point.
 * @param options Arrays and parameters.
 */
export function runSpans(
  gpu: Gpu,
  kernel: PackedKernel,
  entryPoint: string,
  options: SpanOptions,
): void {
  const { buffers } = options;
  const [first] = Object.values(buffers);
  const count = elementCount(first!);
  const bytes = elementBytes(first!);
  const whole = count % 4 === 0 ? count : count - count % ALIGNED_ELEMENTS;
  const parts = [
    { width: 4, start: 0, count: whole },
    { width: 1, start: whole, count: count - whole },
  ];
  const operation = `${kernel.vector.name}.${entryPoint}`;
  const limits = kernel.inputs.size > 0 ? streamLimits(gpu, TEXEL_PART_BYTES) : gpu;
  for (const part of parts) {
    if (part.count === 0) continue;
    const { width } = part;
    const packBytes = bytes * width;
    const ranges = splitRows(limits, part.count / width, { rowBytes: [packBytes], operation });
    for (const range of ranges) {
      const bound: Record<string, Slice> = { ...options.whole };
      for (const [name, slice] of Object.entries(buffers)) {
        const within = subslice(slice, bytes * part.start, bytes * part.count);
        bound[name] = sliceRows(within, range, packBytes);
      }
      const { each, alone } = options.walk ?? walkOf(gpu, range.count);
      runPacked(gpu, kernel, width, entryPoint, {
        buffers: bound,
        params: { ...options.params, count: range.count, each },
        constants: { ...options.constants, THREADS: gpu.threads, ALONE: alone ? 1 : 0 },
        threads: Math.ceil(range.count / each / gpu.threads) * gpu.threads,
      });
    }
  }
}

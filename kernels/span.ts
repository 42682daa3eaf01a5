/** Runs kernels over equally long arrays of any length, four packs of four elements an invocation. @module */

import type { Gpu, RunOptions } from "./gpu.ts";
import {
  definePackedKernel,
  type PackedInput,
  type PackedKernel,
  packLimits,
  runPacked,
} from "./pack.ts";
import { elementBytes, elementCount, type Slice, sliceRows, splitRows, subslice } from "./slice.ts";
import span from "./span.wgsl" with { type: "text" };

/** Packs of an invocation. */
const SPAN = 4;
/** A part of an array that starts at a multiple of this many elements is one that every adapter can bind. */
const ALIGNED_ELEMENTS = 128;

/** Bytes of an array that are copied into a texture at a time: a processor's cache keeps them until they are read. */
const TEXEL_PART_BYTES = 2 ** 22;

/**
 * Defines a kernel over `Pack` whose invocations take the packs that `spanOf` gives, up to `params.count`.
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
  return definePackedKernel(name, `${span}\n${source}`, inputs);
}

/** What {@linkcode runSpans} runs. */
export interface SpanOptions {
  /** Equally long arrays by variable name, all f32 or all f16. */
  buffers: Readonly<Record<string, Slice>>;
  /** Every field of `struct Params` but `count`. */
  params?: RunOptions["params"];
  /** Values of `override` constants. */
  constants?: RunOptions["constants"];
  /** Whether the packs of an invocation are neighbors. Default: on a software adapter. */
  contiguous?: boolean | undefined;
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
  const { buffers, contiguous = gpu.adapter.software } = options;
  const [first] = Object.values(buffers);
  const count = elementCount(first!);
  const bytes = elementBytes(first!);
  const whole = count % 4 === 0 ? count : count - count % ALIGNED_ELEMENTS;
  const parts = [
    { width: 4, start: 0, count: whole },
    { width: 1, start: whole, count: count - whole },
  ];
  const operation = `${kernel.vector.name}.${entryPoint}`;
  const limits = kernel.inputs.size > 0 ? packLimits(gpu, TEXEL_PART_BYTES) : gpu;
  for (const part of parts) {
    if (part.count === 0) continue;
    const { width } = part;
    const packBytes = bytes * width;
    const ranges = splitRows(limits, part.count / width, { rowBytes: [packBytes], operation });
    for (const range of ranges) {
      const bound: Record<string, Slice> = {};
      for (const [name, slice] of Object.entries(buffers)) {
        const within = subslice(slice, bytes * part.start, bytes * part.count);
        bound[name] = sliceRows(within, range, packBytes);
      }
      runPacked(gpu, kernel, width, entryPoint, {
        buffers: bound,
        params: { ...options.params, count: range.count },
        constants: { ...options.constants, CONTIGUOUS: contiguous ? 1 : 0 },
        threads: Math.ceil(range.count / SPAN),
      });
    }
  }
}

/** Launcher of reduce.wgsl: sums and maxima over one axis, in as many passes as the axis is long. @module */

import { GpuMemoryError } from "./errors.ts";
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import source from "./reduce.wgsl" with { type: "text" };
import type { Slice } from "./slice.ts";
import { alignedRange, capacityOf, splitLength } from "./slice_elements.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("reduce", common, special, source);

/** One invocation reduces about this many elements. */
const CHUNK_LENGTH = 128;

/** What is reduced: the elements, their squares, products with `b`, `exp(a - b)` with one `b` an outer row; or the maximum. */
export type Reduction = "sum" | "sum_squares" | "sum_products" | "sum_exponentials" | "maximum";

/** Operands of {@linkcode reduce}. */
export interface ReduceOptions {
  /** Input, shape (outer, length, inner), f32 or f16. */
  a: Slice;
  /** `sum_products`: same shape and type as `a`; `sum_exponentials`: shape (outer), f32. */
  b?: Slice;
  /** Output, shape (outer, inner), f32. */
  y: Slice;
  /** Extent in front of the reduced axis. */
  outer: number;
  /** Extent of the reduced axis. */
  length: number;
  /** Extent behind the reduced axis. */
  inner: number;
  /** Multiplies the result of a sum, default 1. */
  factor?: number;
}

/** A part of the input that one dispatch reads, and the chunks it makes of it. */
interface Piece {
  outerStart: number;
  outer: number;
  lengthStart: number;
  length: number;
  chunkStart: number;
  chunks: number;
}

function chunksOf(length: number): number {
  return length <= 2 * CHUNK_LENGTH ? 1 : Math.ceil(length / CHUNK_LENGTH);
}

/** Splits the input so that each part fits one binding: whole outer rows where one fits, else parts of a row. */
function piecesOf(gpu: Gpu, options: ReduceOptions): { pieces: Piece[]; chunks: number } {
  const { outer, length, inner } = options;
  const rowElements = length * inner;
  const capacity = capacityOf(gpu);
  const whole = splitLength(
    length,
    rowElements <= capacity ? length : Math.floor(capacity / inner),
  );
  let chunks = 0;
  const lengths = whole.map(({ start, count }) => {
    const part = { lengthStart: start, length: count, chunkStart: chunks, chunks: chunksOf(count) };
    chunks += part.chunks;
    return part;
  });
  const outerRows = Math.max(1, Math.floor(capacity / Math.max(rowElements, chunks * inner)));
  const pieces = splitLength(outer, lengths.length > 1 ? 1 : outerRows).flatMap((rows) =>
    lengths.map((part) => ({ outerStart: rows.start, outer: rows.count, ...part }))
  );
  return { pieces, chunks };
}

function runPass(
  gpu: Gpu,
  reduction: Reduction,
  options: ReduceOptions,
  plan: { pieces: Piece[]; chunks: number },
): void {
  const { a, b, y, length, inner, factor = 1 } = options;
  for (const piece of plan.pieces) {
    const first = (piece.outerStart * length + piece.lengthStart) * inner;
    const count = ((piece.outer - 1) * length + piece.length) * inner;
    const firstY = (piece.outerStart * plan.chunks + piece.chunkStart) * inner;
    const countY = ((piece.outer - 1) * plan.chunks + piece.chunks) * inner;
    const input = alignedRange(gpu, a, first, count);
    const output = alignedRange(gpu, y, firstY, countY);
    const second = b &&
      (reduction === "sum_exponentials"
        ? alignedRange(gpu, b, piece.outerStart, piece.outer)
        : alignedRange(gpu, b, first, count));
    gpu.run(kernel, reduction, {
      buffers: {
        a: input.slice,
        ...(second && { [reduction === "sum_exponentials" ? "shifts" : "b"]: second.slice }),
        y: output.slice,
      },
      params: {
        outer: piece.outer,
        length: piece.length,
        inner,
        chunks: piece.chunks,
        first: input.first,
        first_b: second?.first ?? 0,
        first_y: output.first,
        output_stride: plan.chunks * inner,
        factor,
      },
      threads: piece.outer * piece.chunks * inner,
    });
  }
}

/**
 * Reduces the middle axis of (outer, length, inner). Deterministic: the order of additions depends on the shape alone.
 *
 * @param gpu The device.
 * @param reduction What is reduced.
 * @param options Operands and extents; `length` is at least 1.
 * @throws {GpuMemoryError} If not even two rows of `inner` elements fit one binding.
 */
export function reduce(gpu: Gpu, reduction: Reduction, options: ReduceOptions): void {
  const { y, outer, inner, factor = 1 } = options;
  const plan = piecesOf(gpu, options);
  if (plan.chunks > 1 && plan.chunks >= options.length) {
    // No two rows fit one binding, so a pass would not shorten anything.
    throw new GpuMemoryError(
      `Cannot reduce ${options.length} rows of ${inner} elements: expected two rows of at most ${gpu.maxBindingBytes} bytes (the adapter's largest binding), found ${
        8 * inner
      }`,
    );
  }
  if (plan.chunks === 1) {
    runPass(gpu, reduction, options, plan);
    return;
  }
  const partial = gpu.acquire(4 * outer * plan.chunks * inner, "partial results of a reduction");
  runPass(gpu, reduction, { ...options, y: partial, factor: 1 }, plan);
  reduce(gpu, reduction === "maximum" ? "maximum" : "sum", {
    a: partial,
    y,
    outer,
    length: plan.chunks,
    inner,
    factor,
  });
  gpu.release(partial);
}

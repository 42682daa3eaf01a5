/** Launcher of reduce.wgsl: sums over one axis, in as many passes as the axis is long. @module */

import { GpuMemoryError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import { definePackedKernel, packFor, runPacked } from "./pack.ts";
import source from "./reduce.wgsl" with { type: "text" };
import { elementBytes, type Slice } from "./slice.ts";
import { alignedRange, capacityOf, splitLength } from "./slice_elements.ts";
import { streamLimits } from "./texel_pool.ts";

const INPUTS = { a: { binding: 1 }, b: { binding: 2 } };
const kernel = definePackedKernel("reduce", source, INPUTS, { streams: true });

/**
 * One invocation reduces about this many elements, or packs of four; on a software adapter, where the start of a workgroup costs time, more
 * of a long axis.
 */
const CHUNK_LENGTH = 128, LONG_CHUNK_LENGTH = 512;
/**
 * Elements, or packs, of a long axis: its chunks still keep a software adapter busy, and no cache of a processor holds it. What is fetched
 * ahead from memory is fetched by pages, so each lane then reads a chunk alone: twice as fast where lanes load from buffers.
 */
const LONG_LENGTH = 2 ** 19;
/** Lanes of a software adapter that load at the same time. */
const SOFTWARE_LANES = 8;
/** Elements from which rows that one pass could reduce are read in packs of four, at the price of a second pass. */
const MANY_ELEMENTS = 2 ** 17;

/** What is summed up: the elements, their squares, or their products with `b`. */
export type Reduction = "sum" | "sum_squares" | "sum_products";

/** Operands of {@linkcode reduce}. */
export interface ReduceOptions {
  /** Input, shape (outer, length, inner), f32 or f16. */
  a: Slice;
  /** `sum_products`: same shape and type as `a`. */
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
  /**
   * Invocations that take turns along the axis. Default: all, and on a software adapter those that load at the same time, or one where the
   * axis comes from memory.
   */
  together?: number;
}

/** A pass over operands of which a part is meant. */
interface Pass extends ReduceOptions {
  /** First element of `a`, and of a `b` of the same shape. */
  first: number;
  /** First element of `y`. */
  firstY: number;
}

/** A part of the input that one dispatch reads, and the chunks it makes of it. */
interface Piece {
  outerStart: number;
  outer: number;
  lengthStart: number;
  length: number;
  chunkStart: number;
  chunks: number;
  /** Elements of each, at most. */
  chunk: number;
  /** Of these chunks, how many take turns. */
  together: number;
}

/** Cuts a length; the number of chunks is a multiple of those that take turns. */
function chunksOf(
  { adapter }: Gpu,
  length: number,
  most: number,
): Pick<Piece, "chunks" | "chunk" | "together"> {
  if (length <= 2 * CHUNK_LENGTH) return { chunks: 1, chunk: length, together: 1 };
  const chunk = adapter.software && length >= LONG_LENGTH ? LONG_CHUNK_LENGTH : CHUNK_LENGTH;
  const chunks = Math.ceil(length / chunk);
  const together = Math.min(most, chunks);
  return { chunks: Math.ceil(chunks / together) * together, chunk, together };
}

function defaultTogether(gpu: Gpu, length: number, inner: number): number {
  if (!gpu.adapter.software) return Infinity;
  if (length >= LONG_LENGTH && gpu.leastStreamBytes === Infinity) return 1;
  return Math.max(1, Math.floor(SOFTWARE_LANES / packFor(kernel, inner).packs));
}

/** Splits the input so that each part fits one binding: whole outer rows where one fits, else parts of a row. */
function piecesOf(
  gpu: Gpu,
  options: Pick<ReduceOptions, "outer" | "length" | "inner" | "together">,
): { pieces: Piece[]; chunks: number } {
  const { outer, length, inner } = options;
  const together = options.together ?? defaultTogether(gpu, length, inner);
  const rowElements = length * inner;
  const capacity = capacityOf(streamLimits(gpu));
  const whole = splitLength(
    length,
    rowElements <= capacity ? length : Math.max(1, Math.floor(capacity / inner)),
  );
  let chunks = 0;
  const lengths = whole.map(({ start, count }) => {
    const part = {
      lengthStart: start,
      length: count,
      chunkStart: chunks,
      ...chunksOf(gpu, count, together),
    };
    chunks += part.chunks;
    return part;
  });
  const outerRows = Math.max(1, Math.floor(capacity / Math.max(rowElements, chunks * inner)));
  const pieces = splitLength(outer, lengths.length > 1 ? 1 : outerRows).flatMap((rows) =>
    lengths.map((part) => ({ outerStart: rows.start, outer: rows.count, ...part }))
  );
  return { pieces, chunks };
}

/** Whether elements from here on can be read as packs of four. */
function startsPack(slice: Slice | undefined): boolean {
  return slice === undefined || slice.offsetBytes % (4 * elementBytes(slice)) === 0;
}

function runPass(
  gpu: Gpu,
  reduction: Reduction,
  options: Pass,
  plan: { pieces: Piece[]; chunks: number },
): void {
  const { a, b, y, length, inner, factor = 1 } = options;
  const packed = inner % 4 === 0 && [a, b, y].every(startsPack);
  const { packs } = packFor(kernel, packed ? inner : 1);
  const width = packed ? 4 : 1;
  for (const piece of plan.pieces) {
    const first = options.first + (piece.outerStart * length + piece.lengthStart) * inner;
    const count = ((piece.outer - 1) * length + piece.length) * inner;
    const firstY = options.firstY + (piece.outerStart * plan.chunks + piece.chunkStart) * inner;
    const countY = ((piece.outer - 1) * plan.chunks + piece.chunks) * inner;
    const input = alignedRange(gpu, a, first, count);
    const output = alignedRange(gpu, y, firstY, countY);
    const second = b && alignedRange(gpu, b, first, count);
    runPacked(gpu, kernel, packed ? inner : 1, reduction, {
      buffers: {
        a: input.slice,
        ...(second && { b: second.slice }),
        y: output.slice,
      },
      params: {
        outer: piece.outer,
        length: piece.length,
        packs: packed ? packs : inner,
        chunks: piece.chunks,
        chunk: piece.chunk,
        together: piece.together,
        first: input.first / width,
        first_b: (second?.first ?? 0) / width,
        first_y: output.first / width,
        output_stride: plan.chunks * inner / width,
        factor,
      },
      threads: piece.outer * piece.chunks * inner / width,
    });
  }
}

/**
 * Reads rows of single elements as rows of packs of four: leaves four partial results, or some times four, for each row. Elements
 * behind the last pack, which only a single row may have, are reduced by themselves.
 */
function reduceFolded(gpu: Gpu, reduction: Reduction, options: ReduceOptions): void {
  const { outer, length } = options;
  const rest = length % 4;
  const folded = { ...options, length: (length - rest) / 4, inner: 4, factor: 1 };
  const plan = piecesOf(gpu, folded);
  const partials = 4 * plan.chunks + Math.min(rest, 1);
  const partial = gpu.acquire(4 * outer * partials, "partial results of a reduction");
  runPass(gpu, reduction, { ...folded, y: partial, first: 0, firstY: 0 }, plan);
  if (rest > 0) {
    const behind = { ...options, length: rest, factor: 1, first: length - rest };
    const place = { y: partial, firstY: partials - 1 };
    runPass(gpu, reduction, { ...behind, ...place }, piecesOf(gpu, behind));
  }
  merge(gpu, { ...options, length: partials }, partial);
}

/** Makes one of partial results, and gives their buffer back. */
function merge(gpu: Gpu, options: ReduceOptions, partial: Slice): void {
  const { b: _, ...rest } = options;
  reduce(gpu, "sum", { ...rest, a: partial });
  gpu.release(partial);
}

function folds(gpu: Gpu, { a, b, outer, length, inner }: ReduceOptions): boolean {
  return inner === 1 && length >= 16 && (length % 4 === 0 || outer === 1) &&
    (length > 2 * CHUNK_LENGTH || outer * length >= MANY_ELEMENTS) &&
    capacityOf(gpu) >= 8 && startsPack(a) && startsPack(b);
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
  const { outer, inner } = options;
  if (folds(gpu, options)) {
    reduceFolded(gpu, reduction, options);
    return;
  }
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
    runPass(gpu, reduction, { ...options, first: 0, firstY: 0 }, plan);
    return;
  }
  const partial = gpu.acquire(4 * outer * plan.chunks * inner, "partial results of a reduction");
  runPass(gpu, reduction, { ...options, y: partial, factor: 1, first: 0, firstY: 0 }, plan);
  merge(gpu, { ...options, length: plan.chunks }, partial);
}

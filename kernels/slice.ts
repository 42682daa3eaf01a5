/** Ranges of GPU buffers, and the splitting of rows so that no binding passes the adapter's limit. @module */

import { GpuMemoryError } from "./errors.ts";

/** A range of a GPU buffer: what a kernel binds. */
export interface Slice {
  /** The buffer. */
  readonly buffer: GPUBuffer;
  /** First byte of the range. */
  readonly offsetBytes: number;
  /** Length of the range in bytes. */
  readonly bytes: number;
  /** Whether the elements are 16-bit floats. Default: they are 32 bits wide. */
  readonly half?: boolean;
  /**
   * Where the elements are, too, if they are in a texture: an array of vectors (see `Gpu.copyToTexels`). Only bindings of type
   * `Texels` take it.
   */
  readonly texture?: GPUTexture;
}

/**
 * Bytes of one element.
 *
 * @param slice The slice.
 * @returns 2 for 16-bit floats, else 4.
 */
export function elementBytes(slice: Pick<Slice, "half">): 2 | 4 {
  return slice.half ? 2 : 4;
}

/**
 * Counts the elements of a slice.
 *
 * @param slice The slice.
 * @returns Their number.
 */
export function elementCount(slice: Slice): number {
  return slice.bytes / elementBytes(slice);
}

/**
 * Rounds up to whole words: copies move those, and buffers end with one.
 *
 * @param bytes A count.
 * @returns The next multiple of 4.
 */
export function wholeWords(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** What {@linkcode splitRows} has to know of the device. */
export interface BindingLimits {
  /** The largest storage binding, in bytes. */
  readonly maxBindingBytes: number;
  /** Offsets of storage bindings are multiples of this many bytes. */
  readonly offsetAlignment: number;
}

/** A run of consecutive rows. */
export interface RowRange {
  /** First row. */
  start: number;
  /** Number of rows. */
  count: number;
}

/**
 * Takes a part of a slice, of the same type.
 *
 * @param slice The whole.
 * @param offsetBytes Start within it.
 * @param bytes Length.
 * @returns The part.
 */
export function subslice(slice: Slice, offsetBytes: number, bytes: number): Slice {
  return { ...slice, offsetBytes: slice.offsetBytes + offsetBytes, bytes };
}

/**
 * Takes consecutive rows of a slice.
 *
 * @param slice A tensor of rows.
 * @param range The rows.
 * @param rowBytes Bytes of one row.
 * @returns The part that holds those rows.
 */
export function sliceRows(slice: Slice, range: RowRange, rowBytes: number): Slice {
  return subslice(slice, range.start * rowBytes, range.count * rowBytes);
}

function greatestCommonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/**
 * Splits `rows` rows into runs so that, for every operand that has these rows, a run fits one binding and starts at an aligned offset.
 *
 * @param limits The device's limits.
 * @param rows Rows in all.
 * @param options `rowBytes`: bytes of a row in each operand; `multiple`: runs are multiples of this many rows (default 1);
 * `operation`: named in the error.
 * @returns The runs, in order; one run where everything fits.
 * @throws {GpuMemoryError} If not even the smallest aligned run fits.
 */
export function splitRows(
  limits: BindingLimits,
  rows: number,
  options: { rowBytes: readonly number[]; multiple?: number; operation: string },
): RowRange[] {
  const { rowBytes, operation } = options;
  const largest = Math.max(...rowBytes);
  if (rows * largest <= limits.maxBindingBytes) return [{ start: 0, count: rows }];
  // The smallest number of rows whose bytes are a multiple of the alignment in every operand.
  let step = options.multiple ?? 1;
  for (const bytes of rowBytes) {
    const needed = limits.offsetAlignment / greatestCommonDivisor(bytes, limits.offsetAlignment);
    step = step * needed / greatestCommonDivisor(step, needed);
  }
  const count = Math.floor(limits.maxBindingBytes / largest / step) * step;
  if (count === 0) {
    throw new GpuMemoryError(
      `Cannot bind ${operation}: expected rows of at most ${
        Math.floor(limits.maxBindingBytes / step)
      } bytes, found ${largest} (the adapter binds at most ${limits.maxBindingBytes} bytes)`,
    );
  }
  const ranges: RowRange[] = [];
  for (let start = 0; start < rows; start += count) {
    ranges.push({ start, count: Math.min(count, rows - start) });
  }
  return ranges;
}

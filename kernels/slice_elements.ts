/** Bindings that start at any element: the range from the aligned offset before it, and where in that range the element is. @module */

import { type BindingLimits, elementBytes, type RowRange, type Slice } from "./slice.ts";

/** A range that can be bound, and the wanted elements in it. */
export interface ElementRange {
  /** Starts at an aligned offset, at or before the first wanted element. */
  slice: Slice;
  /** Index of the first wanted element in `slice`. */
  first: number;
}

/**
 * Elements that an {@linkcode alignedRange} may span, wherever it starts.
 *
 * @param limits The device's limits.
 * @returns Number of elements of at most 4 bytes, at least 1.
 */
export function capacityOf(limits: BindingLimits): number {
  return Math.max(1, Math.floor((limits.maxBindingBytes - limits.offsetAlignment) / 4));
}

/**
 * Binds elements that start anywhere.
 *
 * @param limits The device's limits.
 * @param slice A tensor.
 * @param first Index of the first wanted element.
 * @param count Wanted elements, at most {@linkcode capacityOf} of them (or all of a tensor that fits one binding).
 * @returns The range.
 */
export function alignedRange(
  limits: BindingLimits,
  slice: Slice,
  first: number,
  count: number,
): ElementRange {
  const size = elementBytes(slice);
  const start = slice.offsetBytes + size * first;
  const offsetBytes = start - start % limits.offsetAlignment;
  return {
    slice: { ...slice, offsetBytes, bytes: start - offsetBytes + size * count },
    first: (start - offsetBytes) / size,
  };
}

/**
 * Splits an extent into runs of at most `most`.
 *
 * @param extent The whole.
 * @param most Extent of a run, at least 1.
 * @returns The runs, in order.
 */
export function splitLength(extent: number, most: number): RowRange[] {
  const ranges: RowRange[] = [];
  for (let start = 0; start < extent; start += most) {
    ranges.push({ start, count: Math.min(most, extent - start) });
  }
  return ranges;
}

/** Windows: the smallest bindable ranges that hold given elements of a slice. @module */

import { type BindingLimits, elementBytes, type Slice } from "./slice.ts";

/** A binding, and where the wanted elements begin in it. */
export interface Window {
  /** What is bound; it begins at an aligned offset. */
  slice: Slice;
  /** The slice's element 0 as an index of the binding, as u32: it may lie before the binding, since indices wrap. */
  origin: number;
}

/** Bindings begin at multiples of this, so that vectors of four never straddle and every adapter's alignment is met. */
const ALIGNMENT_BYTES = 256;

/**
 * Finds the window of a range of elements.
 *
 * @param limits The device's limits.
 * @param slice The operand.
 * @param range First element of the slice that is used, and the one after the last.
 * @returns The window; its size may pass the limit, see {@linkcode fits}.
 */
export function windowOf(
  limits: BindingLimits,
  slice: Slice,
  range: { first: number; end: number },
): Window {
  const alignment = Math.max(ALIGNMENT_BYTES, limits.offsetAlignment);
  const bytes = elementBytes(slice);
  const begin = Math.floor((slice.offsetBytes + bytes * range.first) / alignment) * alignment;
  // Buffers are multiples of 256 bytes, so a whole vector at the end is inside.
  const end = Math.ceil((slice.offsetBytes + bytes * range.end) / 16) * 16;
  return {
    slice: { ...slice, offsetBytes: begin, bytes: end - begin },
    origin: (slice.offsetBytes - begin) / bytes,
  };
}

/**
 * Tells whether windows can be bound.
 *
 * @param limits The device's limits.
 * @param windows The windows.
 * @returns Whether each is within the largest binding.
 */
export function fits(limits: BindingLimits, ...windows: Window[]): boolean {
  return windows.every(({ slice }) => slice.bytes <= limits.maxBindingBytes);
}

/**
 * Tells whether vectors of four can begin at the start of a slice.
 *
 * @param slice The slice.
 * @param offset Elements before the first vector.
 * @returns Whether that is so.
 */
export function beginsVector(slice: Slice, offset = 0): boolean {
  return (slice.offsetBytes / elementBytes(slice) + offset) % 4 === 0;
}

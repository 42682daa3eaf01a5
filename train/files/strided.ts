/** Tensors that are views of a larger storage: their elements in order, read a slab at a time. @module */

import { elementCount } from "./safetensors_format.ts";

/** A view of a storage. */
export interface StridedView {
  /** Extents, outermost axis first. */
  readonly shape: readonly number[];
  /** Elements of the storage from one index of an axis to the next; not negative. */
  readonly strides: readonly number[];
  /** Element of the storage at which the view starts. */
  readonly offset: number;
}

/** Reads a part of a storage, in bytes. */
export type StorageRead = (
  startByte: number,
  lengthBytes: number,
) => Promise<Uint8Array<ArrayBuffer>>;

/** Bytes of a storage that are in memory at once beside the result. */
const SLAB_BYTES = 2 ** 24;

/** An axis of a view, with its step in the storage and its step in the result, in elements. */
interface Axis {
  readonly extent: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Counts the elements of a storage from the first to the last one of a view.
 *
 * @param view The view.
 * @returns 0 for an empty view.
 */
export function spanOf({ shape, strides }: Pick<StridedView, "shape" | "strides">): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((span, extent, axis) => span + (extent - 1) * strides[axis]!, 1);
}

/**
 * Says whether the elements of a view follow each other in the storage.
 *
 * @param view The view.
 * @returns True if they do; the step of an axis with one index does not matter.
 */
function isContiguous({ shape, strides }: Pick<StridedView, "shape" | "strides">): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/**
 * Reads the elements of a view in their order.
 *
 * @param view The view; it lies within the storage.
 * @param elementBytes Bytes of an element.
 * @param read Reads the storage.
 * @returns The elements, last axis fastest.
 */
export async function readView(
  view: StridedView,
  elementBytes: number,
  read: StorageRead,
): Promise<Uint8Array<ArrayBuffer>> {
  const { shape, strides, offset } = view;
  if (elementBytes === 8) {
    // As pairs of words: numbers of JavaScript do not hold every pattern of 64 bits.
    const pairs = { shape: [...shape, 2], strides: [...strides.map((step) => 2 * step), 1] };
    return await readView({ ...pairs, offset: 2 * offset }, 4, read);
  }
  const bytes = elementCount(shape) * elementBytes;
  if (bytes === 0) return new Uint8Array();
  if (isContiguous(view)) return await read(offset * elementBytes, bytes);
  const result = new Uint8Array(bytes);
  const axes = shape.map((extent, axis): Axis => ({
    extent,
    from: strides[axis]!,
    to: elementCount(shape.slice(axis + 1)),
  })).filter(({ extent }) => extent > 1);
  // By steps in the storage: an index of the first axis is then one run of it.
  axes.sort((a, b) => b.from - a.from);
  await copySlabs({ result, elementBytes, read }, axes, offset, 0);
  return result;
}

interface Copy {
  readonly result: Uint8Array<ArrayBuffer>;
  readonly elementBytes: number;
  readonly read: StorageRead;
}

/** Copies what some axes span, in slabs along the first of them. */
async function copySlabs(
  copy: Copy,
  axes: readonly Axis[],
  from: number,
  to: number,
): Promise<void> {
  const { elementBytes, read } = copy;
  const [first, ...inner] = axes;
  const span = 1 + axes.reduce((sum, { extent, from }) => sum + (extent - 1) * from, 0);
  if (!first || span * elementBytes <= SLAB_BYTES) {
    const slab = await read(from * elementBytes, span * elementBytes);
    copyElements(copy, slab, axes, to);
    return;
  }
  const innerSpan = 1 + inner.reduce((sum, { extent, from }) => sum + (extent - 1) * from, 0);
  const room = Math.floor(SLAB_BYTES / elementBytes) - innerSpan;
  const count = Math.max(1, 1 + Math.floor(room / Math.max(1, first.from)));
  for (let i = 0; i < first.extent; i += count) {
    const extent = Math.min(count, first.extent - i);
    const part = extent > 1 ? [{ ...first, extent }, ...inner] : inner;
    await copySlabs(copy, part, from + i * first.from, to + i * first.to);
  }
}

/** Copies elements from a slab, whose first element is the view's first. */
function copyElements(
  { result, elementBytes }: Copy,
  slab: Uint8Array<ArrayBuffer>,
  axes: readonly Axis[],
  to: number,
): void {
  const [target, source] = [elementsOf(result, elementBytes), elementsOf(slab, elementBytes)];
  const index = axes.map(() => 0);
  let read = 0;
  let write = to;
  for (;;) {
    target[write] = source[read]!;
    let axis = axes.length - 1;
    for (; axis >= 0; axis--) {
      const { extent, from, to: step } = axes[axis]!;
      index[axis]!++;
      read += from;
      write += step;
      if (index[axis]! < extent) break;
      read -= from * extent;
      write -= step * extent;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/** Elements as whole numbers of their size, whatever they mean. */
function elementsOf(
  bytes: Uint8Array<ArrayBuffer>,
  elementBytes: number,
): Uint8Array | Uint16Array | Uint32Array {
  if (elementBytes === 1) return bytes;
  return elementBytes === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
}

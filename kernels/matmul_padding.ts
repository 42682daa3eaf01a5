/** Copies of operands whose rows lie whole pages apart: such rows share few lines of a processor's caches. @module */

import type { Gpu } from "./gpu.ts";
import type { MatmulOptions, MatrixOperand } from "./matmul_parts.ts";
import { elementBytes, type Slice, subslice } from "./slice.ts";

const PAGE_BYTES = 4096;
/** Elements between the rows of a copy, so that they begin at different lines. */
const GAP = 16;
/** Smaller products do not pay for the copies. */
const LEAST_PRODUCT = 2 ** 27;
const LEAST_EXTENT = 256;
/** Copies take at most this much memory each. */
const COPY_BYTES = 2 ** 26;
/** Each row is a command of its own. */
const MOST_ROWS = 4096;

/**
 * Copies operands of a large product on a software adapter where their rows would drive each other out of the caches.
 *
 * @param gpu The device.
 * @param options The product.
 * @returns The same product of other operands, and the buffers to give back behind it.
 */
export function padded(
  gpu: Gpu,
  options: MatmulOptions,
): { options: MatmulOptions; copies: Slice[] } {
  const { a, b, rows, columns, inner, transposeA, transposeB, batch = [1, 1] } = options;
  const copies: Slice[] = [];
  const single = batch[0] === 1 && batch[1] === 1;
  const large = Math.min(rows, columns) >= LEAST_EXTENT && rows * columns * inner >= LEAST_PRODUCT;
  if (!gpu.adapter.software || !single || !large) return { options, copies };
  const copied = (operand: MatrixOperand, height: number, width: number): MatrixOperand => {
    const { slice, offset = 0, rowStride = width } = operand;
    const bytes = elementBytes(slice);
    const size = bytes * height * (width + GAP);
    const whole = offset === 0 && rowStride === width && slice.bytes === bytes * height * width;
    const few = height <= MOST_ROWS && size <= COPY_BYTES;
    if (!whole || bytes * width % PAGE_BYTES !== 0 || !few) return operand;
    const copy = { ...slice, ...gpu.acquire(size, "a padded copy of an operand") };
    for (let row = 0; row < height; row++) {
      const source = subslice(slice, bytes * width * row, bytes * width);
      gpu.copy(source, subslice(copy, bytes * (width + GAP) * row, bytes * width));
    }
    copies.push(copy);
    return { slice: copy, rowStride: width + GAP };
  };
  return {
    options: {
      ...options,
      a: transposeA ? copied(a, inner, rows) : copied(a, rows, inner),
      b: transposeB ? copied(b, columns, inner) : copied(b, inner, columns),
    },
    copies,
  };
}

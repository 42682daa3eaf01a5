/** The gradient of a bias that was added to every row. @module */

import { cast } from "./cast.ts";
import type { Gpu } from "./gpu.ts";
import { reduce } from "./reduce.ts";
import { elementCount, type Slice } from "./slice.ts";

/**
 * `dbias = Σ dy` over the rows, in f32.
 *
 * @param gpu The device.
 * @param buffers `dy` (rows, outputs), f32 or f16, and, written, `dbias` (outputs), f32.
 */
export function biasGradient(gpu: Gpu, buffers: { dy: Slice; dbias: Slice }): void {
  const { dy, dbias } = buffers;
  const inner = elementCount(dbias);
  const count = elementCount(dy);
  const full = dy.half ? gpu.acquire(4 * count, "a gradient widened to f32") : dy;
  if (dy.half) cast(gpu, { x: dy, y: full });
  reduce(gpu, "sum", { a: full, y: dbias, outer: 1, length: count / inner, inner });
  if (dy.half) gpu.release(full);
}

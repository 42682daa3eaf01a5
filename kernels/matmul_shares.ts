/** The adding of partial sums, whose order never changes. @module */

import { cast } from "./cast.ts";
import type { Gpu } from "./gpu.ts";
import { reduce } from "./reduce.ts";
import { elementCount, type Slice } from "./slice.ts";

/**
 * `y = factor Σ sums`, over the partial sums of each element.
 *
 * @param gpu The device.
 * @param options `sums` (slots, elements of `y`), f32; `y`, f32 or f16, written; `factor`, default 1.
 */
export function addShares(
  gpu: Gpu,
  options: { sums: Slice; y: Slice; slots: number; factor?: number },
): void {
  const { sums, y, slots, factor = 1 } = options;
  const inner = elementCount(y);
  const full = y.half ? gpu.acquire(4 * inner, "a sum before it is rounded") : y;
  reduce(gpu, "sum", { a: sums, y: full, outer: 1, length: slots, inner, factor });
  if (!y.half) return;
  cast(gpu, { x: full, y });
  gpu.release(full);
}

/** How clear a choice of the largest is. @module */

import type { Tensor } from "../../nn/tensor.ts";

/**
 * Distance of the two largest elements of each row.
 *
 * @param x Shape (…, columns), at least two columns.
 * @returns One number a row.
 */
export async function topMargins(x: Tensor): Promise<Float32Array> {
  const columns = x.shape.at(-1) ?? 1;
  const values = await x.read();
  return Float32Array.from({ length: values.length / columns }, (_, row) => {
    let first = -Infinity, second = -Infinity;
    for (const value of values.subarray(row * columns, (row + 1) * columns)) {
      if (value > first) [first, second] = [value, first];
      else if (value > second) second = value;
    }
    return first - second;
  });
}

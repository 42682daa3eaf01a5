/** Random numbers that every subject makes alike, and layouts. No imports, so that the peers' own configuration can use it. @module */

/**
 * Draws numbers, the same for the same seed in every process.
 *
 * @param length How many.
 * @param seed Not 0.
 * @returns Uniform in [-0.5, 0.5).
 */
export function randomNumbers(length: number, seed: number): Float32Array<ArrayBuffer> {
  const numbers = new Float32Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    // Numerical Recipes' linear congruential generator; its upper bits, which f32 keeps, are good enough to time products.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[i] = state / 2 ** 32 - 0.5;
  }
  return numbers;
}

/**
 * Counts elements.
 *
 * @param shape Extents.
 * @returns Their product.
 */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/**
 * Moves axes.
 *
 * @param data Elements, last axis fastest.
 * @param shape Extents of `data`.
 * @param axes Which axis of `data` each axis of the result is, such as [0, 3, 1, 2] from channels last to channels first.
 * @returns The elements in their new order.
 */
export function permuteAxes(
  data: Float32Array,
  shape: readonly number[],
  axes: readonly number[],
): Float32Array<ArrayBuffer> {
  const strides = shape.map((_, axis) => elements(shape.slice(axis + 1)));
  const extents = axes.map((axis) => shape[axis]!);
  const steps = axes.map((axis) => strides[axis]!);
  const y = new Float32Array(data.length);
  const inner = extents.at(-1) ?? 1, innerStep = steps.at(-1) ?? 1;
  const at = extents.slice(0, -1).map(() => 0);
  for (let row = 0, from = 0; row < data.length; row += inner) {
    for (let i = 0; i < inner; i++) y[row + i] = data[from + i * innerStep]!;
    for (let axis = at.length - 1; axis >= 0; axis--) {
      at[axis]!++;
      from += steps[axis]!;
      if (at[axis]! < extents[axis]!) break;
      from -= extents[axis]! * steps[axis]!;
      at[axis] = 0;
    }
  }
  return y;
}

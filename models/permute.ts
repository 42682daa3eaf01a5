/** Reordering of axes on the host: between the reference's files and the engine. @module */

/**
 * Reorders the axes of an array.
 *
 * @param data Elements, last axis fastest.
 * @param shape Extents of `data`.
 * @param permutation Axis i of the result is axis `permutation[i]` of `data`.
 * @returns The reordered elements.
 */
export function permute(
  data: ArrayLike<number>,
  shape: readonly number[],
  permutation: readonly number[],
): Float32Array<ArrayBuffer> {
  const strides = shape.map((_, axis) =>
    shape.slice(axis + 1).reduce((product, extent) => product * extent, 1)
  );
  const extents = permutation.map((axis) => shape[axis]!);
  const steps = permutation.map((axis) => strides[axis]!);
  const result = new Float32Array(data.length);
  const index = extents.map(() => 0);
  let from = 0;
  for (let to = 0; to < result.length; to++) {
    result[to] = data[from]!;
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      from += steps[axis]!;
      if (index[axis]! < extents[axis]!) break;
      from -= steps[axis]! * extents[axis]!;
      index[axis] = 0;
    }
  }
  return result;
}

/** Between the reference's order of axes and the engine's, and the hashes that the vectors use. @module */

/**
 * Reorders the axes of an array.
 *
 * @param data Elements, last axis fastest.
 * @param shape Extents.
 * @param permutation Axis i of the result is axis `permutation[i]` of `data`.
 * @returns The reordered elements.
 */
export function permute(
  data: ArrayLike<number>,
  shape: readonly number[],
  permutation: readonly number[],
): Float32Array {
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

/** (batch, channels, height, width) → (batch, height, width, channels). */
export function channelsLast(data: ArrayLike<number>, shape: readonly number[]): Float32Array {
  return permute(data, shape, [0, 2, 3, 1]);
}

/** (batch, height, width, channels) → (batch, channels, height, width); `shape` is the result's. */
export function channelsFirst(data: ArrayLike<number>, shape: readonly number[]): Float32Array {
  const [batch, channels, height, width] = shape;
  return permute(data, [batch!, height!, width!, channels!], [0, 3, 1, 2]);
}

/** The shape that a file's (batch, channels, height, width) has in the engine. */
export function channelsLastShape(shape: readonly number[]): number[] {
  const [batch, channels, height, width] = shape;
  return [batch!, height!, width!, channels!];
}

/** Sum, Euclidean norm and two hashed projections of a tensor, in the file's order of axes. */
export function fingerprint(name: string, data: ArrayLike<number>): number[] {
  const keys = [hashedUniform(`${name}#0`), hashedUniform(`${name}#1`)];
  const result = [0, 0, 0, 0];
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    result[0]! += value;
    result[1]! += value * value;
    result[2]! += value * (2 * keys[0]!(i) - 1);
    result[3]! += value * (2 * keys[1]!(i) - 1);
  }
  result[1] = Math.sqrt(result[1]!);
  return result;
}

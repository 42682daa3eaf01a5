/** Between the reference's order of axes and the engine's, and the fingerprints that the vectors use. @module */

import { hashedUniform } from "../../models/hashed_uniform.ts";
import { permute } from "../../models/permute.ts";
import type { Tape } from "../../nn/tape.ts";
import type { Tensor } from "../../nn/tensor.ts";
import type { CompareOptions, VectorFile } from "./vectors.ts";

/** Axis i of the engine's tensor is axis `order[i]` of the file's; undefined: the same order. */
export type AxisOrder = readonly number[] | undefined;

/** Images: (batch, channels, height, width) in files, channels last in the engine. */
export const IMAGE: AxisOrder = [0, 2, 3, 1];
/** Convolution weights: (out, in, height, width) in files, (height, width, in, out) in the engine. */
export const KERNEL: AxisOrder = [2, 3, 1, 0];
/** Heads: (batch, heads, tokens, headDim) in files, tokens before heads in the engine. */
export const HEADS: AxisOrder = [0, 2, 1, 3];

/**
 * Reorders a tensor of a file for the engine.
 *
 * @param data Elements in the file's order.
 * @param shape Extents in the file's order.
 * @param order The engine's order.
 * @returns Elements and extents in the engine's order.
 */
export function toEngine(
  data: Float32Array,
  shape: readonly number[],
  order: AxisOrder,
): { data: Float32Array; shape: readonly number[] } {
  if (!order) return { data, shape };
  return { data: permute(data, shape, order), shape: order.map((axis) => shape[axis] ?? 1) };
}

/**
 * Reorders a tensor of the engine for comparison with a file.
 *
 * @param data Elements in the engine's order.
 * @param shape Extents in the engine's order.
 * @param order The engine's order.
 * @returns Elements in the file's order.
 */
export function toFile(
  data: Float32Array,
  shape: readonly number[],
  order: AxisOrder,
): Float32Array {
  if (!order) return data;
  return permute(data, shape, order.map((_, axis) => order.indexOf(axis)));
}

/**
 * Uploads a tensor of a file.
 *
 * @param tape Its owner.
 * @param file The file.
 * @param options Its name and the order of axes in the engine.
 * @returns The tensor; integers as u32.
 */
export async function upload(
  tape: Tape,
  file: VectorFile,
  options: { name: string; order?: AxisOrder },
): Promise<Tensor> {
  const { name, order } = options;
  if (file.isInteger(name)) return tape.input(await file.indices(name), file.shape(name));
  const { data, shape } = toEngine(await file.input(name), file.shape(name), order);
  return tape.input(data, shape);
}

/**
 * Compares a tensor of the engine with a file's.
 *
 * @param file The file.
 * @param found The engine's tensor, or undefined where a gradient is missing.
 * @param options Its name in the file, the order of axes in the engine, and how to compare.
 */
export async function compareTensor(
  file: VectorFile,
  found: Tensor | undefined,
  options: CompareOptions & { name: string; order?: AxisOrder },
): Promise<void> {
  const { name, order } = options;
  if (!found) {
    file.skip(name);
    file.fail(options.group ?? name, `${name}: expected a gradient, found none`);
    return;
  }
  const data = found.dtype === "u32"
    ? await found.readIndices()
    : toFile(await found.read(), found.shape, order);
  await file.compare(name, data, options);
}

/**
 * Condenses a tensor to four numbers.
 *
 * @param name Key of the projections.
 * @param data Elements in the file's order.
 * @returns Sum, Euclidean norm and two hashed projections.
 */
export function fingerprint(
  name: string,
  data: ArrayLike<number>,
): [number, number, number, number] {
  const first = hashedUniform(`${name}#0`);
  const second = hashedUniform(`${name}#1`);
  let sum = 0, squares = 0, projection0 = 0, projection1 = 0;
  for (let i = 0; i < data.length; i++) {
    const value = data[i] ?? NaN;
    sum += value;
    squares += value * value;
    projection0 += value * (2 * first(i) - 1);
    projection1 += value * (2 * second(i) - 1);
  }
  return [sum, Math.sqrt(squares), projection0, projection1];
}

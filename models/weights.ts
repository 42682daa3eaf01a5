/** Weights by the reference's names and in the reference's order of axes, into and out of parameters. @module */

import type { Module } from "../nn/module.ts";
import { type Parameter, sizeOf } from "../nn/tensor.ts";
import { permute } from "./permute.ts";

/** A tensor of a checkpoint, in the file's order of axes. */
export interface FileTensor {
  /** Extents. */
  readonly shape: readonly number[];
  /** Elements, last axis fastest. */
  readonly data: ArrayLike<number>;
}

/** What a load found. */
export interface LoadReport {
  /** Names that were loaded. */
  loaded: string[];
  /** Names that the model has and the source has not. */
  missing: string[];
  /** Names that the source has and the model has not. */
  unexpected: string[];
  /** Names whose shapes differ, with both shapes. */
  mismatched: { name: string; expected: readonly number[]; found: readonly number[] }[];
}

/**
 * Gives the shape that a parameter has in the reference's files.
 *
 * @param parameter The parameter.
 * @returns Extents in the file's order of axes.
 */
export function fileShape(parameter: Parameter): number[] {
  const { shape, filePermutation } = parameter;
  if (!filePermutation) return [...shape];
  const result = new Array<number>(shape.length).fill(0);
  for (const [axis, fileAxis] of filePermutation.entries()) result[fileAxis] = shape[axis]!;
  return result;
}

/**
 * Reorders elements from the engine's order of axes to the file's.
 *
 * @param parameter Whose elements (or gradients, or moments) they are.
 * @param data Elements in the engine's order.
 * @returns Elements in the file's order.
 */
export function toFileLayout(
  parameter: Parameter,
  data: Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  const { shape, filePermutation } = parameter;
  if (!filePermutation) return data;
  return permute(data, shape, filePermutation.map((_, axis) => filePermutation.indexOf(axis)));
}

/**
 * Reorders elements from the file's order of axes to the engine's.
 *
 * @param parameter Whose elements they are.
 * @param data Elements in the file's order.
 * @returns Elements in the engine's order.
 */
export function fromFileLayout(
  parameter: Parameter,
  data: ArrayLike<number>,
): Float32Array<ArrayBuffer> {
  const { filePermutation } = parameter;
  if (!filePermutation) return Float32Array.from(data);
  return permute(data, fileShape(parameter), filePermutation);
}

/**
 * Writes one tensor of a checkpoint into a parameter.
 *
 * @param parameter The parameter.
 * @param data Elements in the file's order; as many as the parameter has.
 * @param layout Whose order of axes the file has, if not the parameter's own.
 * @throws {RangeError} If the count differs.
 */
export function writeFileTensor(
  parameter: Parameter,
  data: ArrayLike<number>,
  layout: Parameter = parameter,
): void {
  if (data.length !== parameter.size) {
    throw new RangeError(
      `Cannot write a parameter of shape [${parameter.shape}]: expected ${parameter.size} elements, found ${data.length}`,
    );
  }
  parameter.write(
    parameter.dtype === "u32" ? Uint32Array.from(data) : fromFileLayout(layout, data),
  );
}

/**
 * Loads weights into a module by name. Nothing is written for names that are missing or whose shapes differ; the caller decides
 * whether such a report is an error.
 *
 * @param module The module.
 * @param source Tensors by name.
 * @param options `prefix`: the part of the source's names in front of the module's own; other names are not looked at.
 * @returns What was loaded and what not.
 */
export function loadParameters(
  module: Module,
  source: ReadonlyMap<string, FileTensor>,
  options: { prefix?: string } = {},
): LoadReport {
  const { prefix = "" } = options;
  const report: LoadReport = { loaded: [], missing: [], unexpected: [], mismatched: [] };
  const known = new Set<string>();
  for (const [name, parameter] of module.namedParameters(prefix)) {
    known.add(name);
    const tensor = source.get(name);
    const expected = fileShape(parameter);
    if (!tensor) report.missing.push(name);
    else if (
      expected.length !== tensor.shape.length ||
      expected.some((extent, axis) => extent !== tensor.shape[axis])
    ) {
      report.mismatched.push({ name, expected, found: tensor.shape });
    } else {
      writeFileTensor(parameter, tensor.data);
      report.loaded.push(name);
    }
  }
  for (const name of source.keys()) {
    if (name.startsWith(prefix) && !known.has(name)) report.unexpected.push(name);
  }
  return report;
}

/**
 * Counts the elements of all trainable parameters of a module.
 *
 * @param module The module.
 * @returns The count.
 */
export function countParameters(module: Module): number {
  return module.trainableParameters().reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

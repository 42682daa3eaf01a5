/** Launchers of elementwise.wgsl: arithmetic on equally long arrays of any size, all f32 or all f16. @module */

import common from "./common.wgsl" with { type: "text" };
import source from "./elementwise.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { elementBytes, elementCount, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("elementwise", common, source);

function launch(
  gpu: Gpu,
  entryPoint: string,
  buffers: Record<string, Slice>,
  scalars: { alpha?: number; beta?: number },
): void {
  const y = buffers.y!;
  const bytes = elementBytes(y);
  const operation = `elementwise.${entryPoint}`;
  for (const range of splitRows(gpu, elementCount(y), { rowBytes: [bytes], operation })) {
    const parts: Record<string, Slice> = {};
    for (const name in buffers) parts[name] = sliceRows(buffers[name]!, range, bytes);
    gpu.run(kernel, entryPoint, {
      buffers: parts,
      params: { count: range.count, alpha: scalars.alpha ?? 1, beta: scalars.beta ?? 0 },
      threads: range.count,
    });
  }
}

/**
 * `y = alpha a + beta b`, element by element.
 *
 * @param gpu The device.
 * @param options Equally long `a`, `b` and `y`; both factors default to 1.
 */
export function linearCombination(
  gpu: Gpu,
  options: { a: Slice; b: Slice; y: Slice; alpha?: number; beta?: number },
): void {
  const { a, b, y, alpha = 1, beta = 1 } = options;
  launch(gpu, "linear", { a, b, y }, { alpha, beta });
}

/**
 * `y = a b`, element by element.
 *
 * @param gpu The device.
 * @param options Equally long `a`, `b` and `y`.
 */
export function multiply(gpu: Gpu, options: { a: Slice; b: Slice; y: Slice }): void {
  launch(gpu, "multiply", { ...options }, {});
}

/**
 * `y = alpha a + beta`, element by element.
 *
 * @param gpu The device.
 * @param options Equally long `a` and `y`; defaults: factor 1, summand 0.
 */
export function affine(
  gpu: Gpu,
  options: { a: Slice; y: Slice; alpha?: number; beta?: number },
): void {
  const { a, y, alpha = 1, beta = 0 } = options;
  launch(gpu, "affine", { a, y }, { alpha, beta });
}

/**
 * Sets every element to `value`.
 *
 * @param gpu The device.
 * @param y What is filled.
 * @param value The value.
 */
export function fill(gpu: Gpu, y: Slice, value: number): void {
  launch(gpu, "fill", { y }, { alpha: value });
}

/** Launchers of elementwise.wgsl: arithmetic on equally long arrays of any size, all f32 or all f16. @module */

import source from "./elementwise.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import type { Slice } from "./slice.ts";
import { defineSpanKernel, runSpans } from "./span.ts";

const kernel = defineSpanKernel("elementwise", source, {
  a: { binding: 1 },
  b: { binding: 2 },
});

function launch(
  gpu: Gpu,
  entryPoint: string,
  buffers: Record<string, Slice>,
  scalars: { alpha?: number; beta?: number },
): void {
  const { alpha = 1, beta = 0 } = scalars;
  runSpans(gpu, kernel, entryPoint, { buffers, params: { alpha, beta } });
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

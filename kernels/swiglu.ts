/** Launchers of swiglu.wgsl: the gated sigmoid linear unit, on arrays of any size, all f32 or all f16. @module */

import type { Gpu } from "./gpu.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import { elementBytes, elementCount, type Slice, sliceRows, splitRows } from "./slice.ts";
import source from "./swiglu.wgsl" with { type: "text" };

const kernels = definePackedKernel("swiglu", source);

function launch(
  gpu: Gpu,
  entryPoint: "forward" | "backward",
  buffers: Record<"gate" | "x", Slice> & Record<string, Slice>,
): void {
  const { kernel, packs } = packFor(kernels, elementCount(buffers.x));
  const bytes = elementBytes(buffers.x) * elementCount(buffers.x) / packs;
  const operation = `swiglu.${entryPoint}`;
  for (const range of splitRows(gpu, packs, { rowBytes: [bytes], operation })) {
    gpu.run(kernel, entryPoint, {
      buffers: Object.fromEntries(
        Object.entries(buffers).map(([name, slice]) => [name, sliceRows(slice, range, bytes)]),
      ),
      params: { count: range.count },
      threads: range.count,
    });
  }
}

/**
 * `y = silu(gate) x`, element by element.
 *
 * @param gpu The device.
 * @param buffers Equally long `gate`, `x` and `y`.
 */
export function swigluForward(gpu: Gpu, buffers: Record<"gate" | "x" | "y", Slice>): void {
  launch(gpu, "forward", buffers);
}

/**
 * Gradients of {@linkcode swigluForward}, both in one dispatch.
 *
 * @param gpu The device.
 * @param buffers What forward read and `dy`; `dgate` and `dx` are written.
 */
export function swigluBackward(
  gpu: Gpu,
  buffers: Record<"gate" | "x" | "dy" | "dgate" | "dx", Slice>,
): void {
  launch(gpu, "backward", buffers);
}

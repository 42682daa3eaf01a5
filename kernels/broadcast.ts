/** Launchers of broadcast.wgsl: a vector combined with every row of a tensor, all f32 or all f16. @module */

import source from "./broadcast.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";
import { alignedRange } from "./slice_elements.ts";

const kernels = definePackedKernel("broadcast", source);

/** How a tensor and a vector are laid out. */
export interface BroadcastShape {
  /** Rows of the vector. */
  outer: number;
  /** Extent of the axis that the vector lacks. */
  middle: number;
  /** Elements of a row. */
  inner: number;
}

/** Slices with the shape of the tensor, which are split by rows; of the others, the vectors of those rows are bound. */
const ROWS = new Set(["x", "base", "y"]);

function launch(
  gpu: Gpu,
  entryPoint: string,
  shape: BroadcastShape,
  options: { buffers: Record<string, Slice>; factor?: number },
): void {
  const { outer, middle, inner } = shape;
  const operation = `broadcast.${entryPoint}`;
  const bytes = elementBytes(options.buffers.y!);
  // Vectors begin at whole packs, as they do in every tensor and at the aligned start of a part of one.
  const { kernel, packs } = packFor(kernels, inner);
  const width = inner / packs;
  for (const range of splitRows(gpu, outer * middle, { rowBytes: [bytes * inner], operation })) {
    const firstVector = Math.floor(range.start / middle);
    const lastVector = Math.floor((range.start + range.count - 1) / middle);
    const buffers: Record<string, Slice> = {};
    let first = 0;
    for (const [name, slice] of Object.entries(options.buffers)) {
      if (ROWS.has(name)) buffers[name] = sliceRows(slice, range, bytes * inner);
      else {
        const vectors = alignedRange(
          gpu,
          slice,
          firstVector * inner,
          (lastVector - firstVector + 1) * inner,
        );
        buffers[name] = vectors.slice;
        first = vectors.first;
      }
    }
    const count = range.count * packs;
    gpu.run(kernel, entryPoint, {
      buffers,
      params: {
        count,
        middle,
        inner: packs,
        first_row: range.start - firstVector * middle,
        first_vector: first / width,
        factor: options.factor ?? 1,
      },
      threads: count,
    });
  }
}

/**
 * `y = factor vector`, repeated along the middle axis.
 *
 * @param gpu The device.
 * @param shape Layout.
 * @param options `vector` (outer, inner), `y` (outer, middle, inner); the factor defaults to 1.
 */
export function expand(
  gpu: Gpu,
  shape: BroadcastShape,
  options: { vector: Slice; y: Slice; factor?: number },
): void {
  const { factor = 1, ...buffers } = options;
  launch(gpu, "expand", shape, { buffers, factor });
}

/**
 * `y = x + vector`.
 *
 * @param gpu The device.
 * @param shape Layout.
 * @param buffers `vector` (outer, inner); `x` and `y` (outer, middle, inner).
 */
export function addRows(
  gpu: Gpu,
  shape: BroadcastShape,
  buffers: { x: Slice; vector: Slice; y: Slice },
): void {
  launch(gpu, "add", shape, { buffers: { ...buffers } });
}

/**
 * `y = x (summand + vector)`.
 *
 * @param gpu The device.
 * @param shape Layout.
 * @param options `vector` (outer, inner); `x` and `y` (outer, middle, inner); the summand defaults to 0.
 */
export function multiplyRows(
  gpu: Gpu,
  shape: BroadcastShape,
  options: { x: Slice; vector: Slice; y: Slice; summand?: number },
): void {
  const { summand = 0, ...buffers } = options;
  launch(gpu, "multiply", shape, { buffers, factor: summand });
}

/**
 * `y = x (1 + vector) + shift`.
 *
 * @param gpu The device.
 * @param shape Layout.
 * @param buffers `vector` and `shift` (outer, inner); `x` and `y` (outer, middle, inner).
 */
export function modulateRows(
  gpu: Gpu,
  shape: BroadcastShape,
  buffers: { x: Slice; vector: Slice; shift: Slice; y: Slice },
): void {
  launch(gpu, "modulate", shape, { buffers: { ...buffers } });
}

/**
 * `y = base + vector x`.
 *
 * @param gpu The device.
 * @param shape Layout.
 * @param buffers `vector` (outer, inner); `x`, `base` and `y` (outer, middle, inner).
 */
export function gateRows(
  gpu: Gpu,
  shape: BroadcastShape,
  buffers: { x: Slice; vector: Slice; base: Slice; y: Slice },
): void {
  launch(gpu, "gate", shape, { buffers: { ...buffers } });
}

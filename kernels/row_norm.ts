/** Launchers of row_norm.wgsl: layer norm and RMS norm of rows, and their gradients. @module */

import type { Gpu } from "./gpu.ts";
import type { Kernel } from "./kernel.ts";
import { MOST_ITERATIONS, requireIterations } from "./loop_limit.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import source from "./row_norm.wgsl" with { type: "text" };
import rowsLane from "./rows_lane.wgsl" with { type: "text" };
import rowsWorkgroup from "./rows_workgroup.wgsl" with { type: "text" };
import { type Slice, sliceRows, splitRows } from "./slice.ts";

/** Who walks a row: one lane, or a workgroup whose lanes exchange their sums. */
export type RowForm = "lane" | "workgroup";

const kernels = {
  lane: definePackedKernel("row_norm", `${rowsLane}\n${source}`),
  workgroup: definePackedKernel("row_norm", `${rowsWorkgroup}\n${source}`),
};

/** Extents and kind of a normalization of rows. */
export interface RowNormSize {
  /** Rows. */
  rows: number;
  /** Elements of a row. */
  width: number;
  /** Added to the variance or mean square. */
  eps: number;
  /** Whether the mean is subtracted and a bias added (layer norm); else RMS norm. */
  centered: boolean;
  /** Default: `lane` on a software adapter unless the row is too long for its loops; else `workgroup`. */
  form?: RowForm;
}

interface Choice {
  kernel: Kernel;
  packs: number;
  constants: Record<string, number>;
  form: RowForm;
}

/** How often a row is walked over, at most. */
const WALKS = 3;

function choose(gpu: Gpu, size: RowNormSize): Choice {
  const iterations = WALKS * packFor(kernels.lane, size.width).packs;
  const form = size.form ??
    (gpu.adapter.software && iterations <= MOST_ITERATIONS ? "lane" : "workgroup");
  requireIterations(gpu, "row_norm", form === "lane" ? iterations : iterations / gpu.threads);
  return {
    ...packFor(kernels[form], size.width),
    constants: {
      CENTERED: size.centered ? 1 : 0,
      // Of the workgroup that shares a row.
      ...(form === "workgroup" && { THREADS: gpu.threads }),
    },
    form,
  };
}

function paramsOf(
  size: RowNormSize,
  extents: { rows: number; packs: number; chunk?: number; chunks?: number; first?: number },
): Record<string, number> {
  return { chunk: 1, chunks: 0, first: 0, width: size.width, eps: size.eps, ...extents };
}

/** Runs an entry point that walks whole rows. */
function runRows(
  gpu: Gpu,
  entryPoint: string,
  size: RowNormSize,
  operands: { rows: Record<string, Slice>; whole: Record<string, Slice>; statistics: string },
): void {
  const { kernel, packs, constants, form } = choose(gpu, size);
  const operation = `row_norm.${entryPoint}`;
  const { rows, whole } = operands;
  const bytesOf = (name: string): number => name === operands.statistics ? 8 : 4 * size.width;
  const rowBytes = Object.keys(rows).map(bytesOf);
  for (const range of splitRows(gpu, size.rows, { rowBytes, operation })) {
    const buffers: Record<string, Slice> = { ...whole };
    for (const [name, slice] of Object.entries(rows)) {
      buffers[name] = sliceRows(slice, range, bytesOf(name));
    }
    const threads = range.count * (form === "lane" ? 1 : gpu.threads);
    const params = paramsOf(size, { rows: range.count, packs });
    gpu.run(kernel, entryPoint, { buffers, params, constants, threads });
  }
}

/**
 * `y = (x - mean) / deviation * weight + bias`, row by row; for RMS norm mean and bias are 0.
 *
 * @param gpu The device.
 * @param buffers `x` and `y` (rows, width), `weight` and, for layer norm, `bias` (width); `statistics` (rows, 2) is written: mean and
 * reciprocal deviation.
 * @param size Extents and kind.
 */
export function rowNormForward(
  gpu: Gpu,
  buffers: {
    x: Slice;
    weight: Slice;
    bias: Slice | undefined;
    statistics: Slice;
    y: Slice;
  },
  size: RowNormSize,
): void {
  const { x, weight, bias, statistics, y } = buffers;
  runRows(gpu, "forward", size, {
    rows: { x, newStatistics: statistics, y },
    // Every declared binding needs a buffer, also the one that RMS norm does not read.
    whole: { weight, bias: bias ?? weight },
    statistics: "newStatistics",
  });
}

/**
 * Gradient of {@linkcode rowNormForward} by x.
 *
 * @param gpu The device.
 * @param buffers What forward read and wrote, `dy`, and `dx`, which is written.
 * @param size Extents and kind.
 */
export function rowNormInputGradient(
  gpu: Gpu,
  buffers: Record<"dy" | "x" | "weight" | "statistics" | "dx", Slice>,
  size: RowNormSize,
): void {
  const { dy, x, weight, statistics, dx } = buffers;
  runRows(gpu, "input_gradient", size, {
    rows: { dy, x, statistics, y: dx },
    whole: { weight },
    statistics: "statistics",
  });
}

/**
 * Gradients of {@linkcode rowNormForward} by weight and bias.
 *
 * @param gpu The device.
 * @param buffers What forward read and wrote, `dy`; `dweight` and, for layer norm, `dbias` (width) are written.
 * @param size Extents and kind.
 */
export function rowNormAffineGradients(
  gpu: Gpu,
  buffers: Record<"dy" | "x" | "statistics" | "dweight", Slice> & { dbias: Slice | undefined },
  size: RowNormSize,
): void {
  const { dy, x, statistics, dweight, dbias } = buffers;
  const { rows, width } = size;
  const { kernel, packs, constants } = choose(gpu, size);
  // A power of two, so that ranges of whole chunks start at aligned offsets early.
  const chunk = 2 ** Math.ceil(Math.log2(rows) / 2);
  const chunks = Math.ceil(rows / chunk);
  const partial = gpu.acquire(8 * chunks * width, "row_norm scratch");
  const options = {
    rowBytes: [4 * width, 8],
    multiple: chunk,
    operation: "row_norm.chunk_gradients",
  };
  for (const range of splitRows(gpu, rows, options)) {
    const count = Math.ceil(range.count / chunk);
    gpu.run(kernel, "chunk_gradients", {
      buffers: {
        dy: sliceRows(dy, range, 4 * width),
        x: sliceRows(x, range, 4 * width),
        statistics: sliceRows(statistics, range, 8),
        partial,
      },
      params: paramsOf(size, {
        rows: range.count,
        packs,
        chunk,
        chunks: count,
        first: range.start / chunk,
      }),
      constants,
      threads: count * packs,
    });
  }
  const spare = dbias ?? gpu.acquire(4 * width, "row_norm scratch");
  gpu.run(kernel, "affine_gradients", {
    buffers: { chunkSums: partial, dbias: spare, dweight },
    params: paramsOf(size, { rows, packs, chunk, chunks }),
    constants,
    threads: packs,
  });
  if (!dbias) gpu.release(spare);
  gpu.release(partial);
}

/** Launchers of row_norm.wgsl: layer norm and RMS norm of rows, and their gradients. @module */

import type { Gpu } from "./gpu.ts";
import { defineHeldKernel, holdsRows, runHeldRows } from "./held_rows.ts";
import { MOST_ITERATIONS, requireIterations } from "./loop_limit.ts";
import { definePackedKernel, type PackedKernel, packFor, runPacked } from "./pack.ts";
import source from "./row_norm.wgsl" with { type: "text" };
import rowsLane from "./rows_lane.wgsl" with { type: "text" };
import rowsWorkgroup from "./rows_workgroup.wgsl" with { type: "text" };
import { reduce } from "./reduce.ts";
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";
import { copyLimits } from "./texel_pool.ts";

/** Who walks a row: one lane, or a workgroup whose lanes exchange their sums. */
export type RowForm = "lane" | "workgroup";

/** Those that may be textures: no more than an adapter has to bind; the bias, read by layer norm alone, is not among them. */
const INPUTS = {
  x: { binding: 1 },
  dy: { binding: 2 },
  weight: { binding: 3, type: "Pack" },
  scale: { binding: 7 },
  shift: { binding: 8 },
} as const;
const kernels = {
  lane: definePackedKernel("row_norm", `${rowsLane}\n${source}`, INPUTS),
  workgroup: definePackedKernel("row_norm", `${rowsWorkgroup}\n${source}`, INPUTS),
};

/** RMS norm without a modulation, of rows of a fixed length. A workgroup keeps the weight from row to row. */
const heldKernel = defineHeldKernel(
  "row_norm",
  { x: INPUTS.x, weight: INPUTS.weight },
  ({ rowPacks, each, combine }) =>
    `struct Params { rows: u32, each: u32, width: f32, eps: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read_write> newStatistics: array<vec2f>; // (rows): 0, 1 / deviation
@group(0) @binding(6) var<storage, read_write> y: array<StoredPack>; // (rows, packs)

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  ${each((i, at) => `let w${i} = weightAt(l + ${at});`)}
  let begin = flatIndex(w, n, 0u) / THREADS * params.each;
  for (var row = begin; row < min(begin + params.each, params.rows); row++) {
    let first = row * ${rowPacks}u + l;
    ${each((i, at) => `let x${i} = xAt(first + ${at});`)}
    let squares = ${combine((a, b) => `(${a} + ${b})`, (i) => `x${i} * x${i}`)};
    let factor = 1.0 / sqrt(subgroupAdd(packSum(squares)) / params.width + params.eps);
    ${each((i, at) => `y[first + ${at}] = StoredPack(x${i} * factor * w${i});`)}
    if (l == 0u) { newStatistics[row] = vec2f(0.0, factor); }
  }
}`,
);

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
  /** Images that the rows belong to, with as many rows each, where each image has a modulation of its own. Default 1. */
  images?: number;
  /**
   * Default: `lane` on a software adapter unless the row is too long for its loops; else `workgroup`. Without it, RMS norm holds rows in
   * registers where it can.
   */
  form?: RowForm;
}

/** What each image's normalized rows are multiplied by, less 1, and what is added to them: (images, width), in the type of x. */
export interface RowModulation {
  /** Factor less 1. */
  scale: Slice;
  /** Summand. */
  shift: Slice;
}

interface Choice {
  kernel: PackedKernel;
  packs: number;
  constants: Record<string, number>;
  form: RowForm;
}

/** How often a row is walked over, at most. */
const WALKS = 3;

function choose(gpu: Gpu, size: RowNormSize, modulated: boolean): Choice {
  const iterations = WALKS * packFor(kernels.lane, size.width).packs;
  const form = size.form ??
    (gpu.adapter.software && iterations <= MOST_ITERATIONS ? "lane" : "workgroup");
  requireIterations(gpu, "row_norm", form === "lane" ? iterations : iterations / gpu.threads);
  return {
    kernel: kernels[form],
    packs: packFor(kernels[form], size.width).packs,
    constants: {
      CENTERED: size.centered ? 1 : 0,
      MODULATED: modulated ? 1 : 0,
      // Of the workgroup that shares a row.
      ...(form === "workgroup" && { THREADS: gpu.threads }),
    },
    form,
  };
}

function paramsOf(
  size: RowNormSize,
  extents: { rows: number; packs: number } & Record<string, number>,
): Record<string, number> {
  const { rows, images = 1, width, eps } = size;
  const plan = { "first_row": 0, chunk: 1, chunks: 0, "image_chunks": 1, first: 0 };
  return { ...plan, image_rows: rows / images, width, eps, ...extents };
}

/** Runs an entry point that walks whole rows. */
function runRows(
  gpu: Gpu,
  entryPoint: string,
  size: RowNormSize,
  operands: {
    rows: Record<string, Slice> & { x: Slice };
    whole: Record<string, Slice> & { weight: Slice };
    statistics: string;
    /** Modulating vectors by name, undefined where there are none. */
    vectors: Record<string, Slice | undefined>;
  },
): void {
  const vectors = Object.entries(operands.vectors);
  const modulated = vectors.some(([, slice]) => slice !== undefined);
  const { kernel, packs, constants, form } = choose(gpu, size, modulated);
  const operation = `row_norm.${entryPoint}`;
  const { rows, whole } = operands;
  const elements = elementBytes(rows.x) * size.width;
  const bytesOf = (name: string): number => name === operands.statistics ? 8 : elements;
  const rowBytes = Object.keys(rows).map(bytesOf);
  for (const range of splitRows(copyLimits(gpu), size.rows, { rowBytes, operation })) {
    const buffers: Record<string, Slice> = { ...whole };
    for (const [name, slice] of Object.entries(rows)) {
      buffers[name] = sliceRows(slice, range, bytesOf(name));
    }
    // Every declared binding needs a buffer of its type, also those that are not read: the smallest.
    const unread = rows.x.half ? buffers.x! : whole.weight;
    for (const [name, slice] of vectors) buffers[name] = slice ?? unread;
    const threads = range.count * (form === "lane" ? 1 : gpu.threads);
    const params = paramsOf(size, { rows: range.count, packs, first_row: range.start });
    runPacked(gpu, kernel, size.width, entryPoint, { buffers, params, constants, threads });
  }
}

/**
 * `y = (x - mean) / deviation * weight + bias`, row by row; for RMS norm mean and bias are 0, and the result may be modulated:
 * `y (1 + scale) + shift`.
 *
 * @param gpu The device.
 * @param buffers `x` and `y` (rows, width), both f32 or f16; `weight` and, for layer norm, `bias` (width), f32; `statistics` (rows, 2),
 * f32, is written: mean and reciprocal deviation; `modulation` for RMS norm.
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
    modulation?: RowModulation | undefined;
  },
  size: RowNormSize,
): void {
  const { x, weight, bias, statistics, y, modulation } = buffers;
  const { rows, width, eps, centered, form } = size;
  if (!centered && !modulation && form === undefined && holdsRows(gpu, width)) {
    runHeldRows(gpu, heldKernel, "forward", {
      rows,
      columns: width,
      matrices: { x, y },
      vectors: { newStatistics: { slice: statistics, rowBytes: 8 } },
      whole: { weight },
      params: { width, eps },
    });
    return;
  }
  runRows(gpu, "forward", size, {
    rows: { x, newStatistics: statistics, y },
    // Every declared binding needs a buffer, also the one that RMS norm does not read.
    whole: { weight, bias: bias ?? weight },
    statistics: "newStatistics",
    vectors: { scale: modulation?.scale, shift: modulation?.shift },
  });
}

/**
 * Gradient of {@linkcode rowNormForward} by x.
 *
 * @param gpu The device.
 * @param buffers What forward read and wrote, `scale` where it was modulated, `dy`, and `dx`, which is written.
 * @param size Extents and kind.
 */
export function rowNormInputGradient(
  gpu: Gpu,
  buffers: Record<"dy" | "x" | "weight" | "statistics" | "dx", Slice> & {
    scale?: Slice | undefined;
  },
  size: RowNormSize,
): void {
  const { dy, x, weight, statistics, dx, scale } = buffers;
  runRows(gpu, "input_gradient", size, {
    rows: { dy, x, statistics, y: dx },
    whole: { weight },
    statistics: "statistics",
    vectors: { scale },
  });
}

/** Sums over chunks of rows that never reach from one image into the next. */
interface ChunkSums {
  /** (chunks, 2, width): sums of dy, and of dy times the normalized rows. */
  partial: Slice;
  /** All chunks, and those of an image. */
  plan: { chunks: number; "image_chunks": number };
}

/** Sums up what the gradients of vectors need; the caller releases `partial`. */
function sumChunks(
  gpu: Gpu,
  buffers: Record<"dy" | "x" | "statistics", Slice>,
  size: RowNormSize,
): ChunkSums {
  const { dy, x, statistics } = buffers;
  const { rows, width, images = 1 } = size;
  const { kernel, packs, constants } = choose(gpu, size, images > 1);
  const imageRows = rows / images;
  // A power of two, so that ranges of whole chunks start at aligned offsets early.
  const chunk = 2 ** Math.ceil(Math.log2(imageRows) / 2);
  const imageChunks = Math.ceil(imageRows / chunk);
  const partial = gpu.acquire(8 * images * imageChunks * width, "row_norm scratch");
  const rowBytes = elementBytes(x) * width;
  const options = {
    rowBytes: [rowBytes, 8],
    multiple: images > 1 ? imageRows : chunk,
    operation: "row_norm.chunk_gradients",
  };
  for (const range of splitRows(copyLimits(gpu), rows, options)) {
    const count = images > 1
      ? range.count / imageRows * imageChunks
      : Math.ceil(range.count / chunk);
    runPacked(gpu, kernel, width, "chunk_gradients", {
      buffers: {
        dy: sliceRows(dy, range, rowBytes),
        x: sliceRows(x, range, rowBytes),
        statistics: sliceRows(statistics, range, 8),
        partial,
      },
      params: paramsOf(size, {
        rows: range.count,
        packs,
        chunk,
        chunks: count,
        image_chunks: imageChunks,
        first: images > 1 ? range.start / imageRows * imageChunks : range.start / chunk,
      }),
      constants,
      threads: count * packs,
    });
  }
  return { partial, plan: { chunks: images * imageChunks, image_chunks: imageChunks } };
}

/**
 * Gradients of {@linkcode rowNormForward}, not modulated, by weight and bias.
 *
 * @param gpu The device.
 * @param buffers What forward read and wrote, `dy`; `dweight` and, for layer norm, `dbias` (width), f32, are written.
 * @param size Extents and kind.
 */
export function rowNormAffineGradients(
  gpu: Gpu,
  buffers: Record<"dy" | "x" | "statistics" | "dweight", Slice> & { dbias: Slice | undefined },
  size: RowNormSize,
): void {
  const { dweight, dbias } = buffers;
  const { rows, width } = size;
  const { kernel, packs, constants } = choose(gpu, size, false);
  const { partial, plan } = sumChunks(gpu, buffers, size);
  const spare = dbias ?? gpu.acquire(4 * width, "row_norm scratch");
  runPacked(gpu, kernel, width, "affine_gradients", {
    buffers: { chunkSums: partial, dbias: spare, dweight },
    params: paramsOf(size, { rows, packs, ...plan }),
    constants,
    threads: packs,
  });
  if (!dbias) gpu.release(spare);
  gpu.release(partial);
}

/**
 * Gradients of a modulated {@linkcode rowNormForward} by weight, scale and shift.
 *
 * @param gpu The device.
 * @param buffers What forward read and wrote, `dy`; `dweight` (width), f32, and `dscale`, `dshift` (images, width), in the type of x,
 * are written.
 * @param size Extents; RMS norm.
 */
export function rowNormModulationGradients(
  gpu: Gpu,
  buffers: Record<
    "dy" | "x" | "statistics" | "weight" | "scale" | "dweight" | "dscale" | "dshift",
    Slice
  >,
  size: RowNormSize,
): void {
  const { weight, scale, dweight, dscale, dshift } = buffers;
  const { rows, width, images = 1 } = size;
  const { kernel, packs, constants } = choose(gpu, size, true);
  const { partial, plan } = sumChunks(gpu, buffers, size);
  const imageWeights = gpu.acquire(4 * images * width, "row_norm scratch");
  runPacked(gpu, kernel, width, "modulation_gradients", {
    buffers: { chunkSums: partial, weight, scale, dscale, dshift, imageWeights },
    params: paramsOf(size, { rows, packs, ...plan }),
    constants,
    threads: images * packs,
  });
  reduce(gpu, "sum", { a: imageWeights, y: dweight, outer: 1, length: images, inner: width });
  gpu.release(imageWeights);
  gpu.release(partial);
}

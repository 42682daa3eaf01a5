/** Launchers of products of few rows with weights (outputs, inputs), as decoding needs them. @module */

import common from "./common.wgsl" with { type: "text" };
import source from "./gemv.wgsl" with { type: "text" };
import { GEMV_LANES, gemvKernel } from "./gemv_source.ts";
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { elementBytes, type RowRange, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("gemv", common, source);

/** More rows are better served by tiles, which keep weights for many rows. */
export const MOST_GEMV_ROWS = 8;
/** Rows of one dispatch. */
const ROWS_EACH = 4;
/** Most numbers of a row that a lane keeps: more make longer texts, fewer more sums to be added up. */
const MOST_KEPT = 64;
/** Outputs that a workgroup of a software adapter walks over: x is loaded once for them. */
const OUTPUTS_EACH = 128;

/** Options of {@linkcode gemv}. */
export interface GemvOptions {
  /** (rows, inputs), f32. */
  x: Slice;
  /** (outputs, inputs), f32 or f16; in a texture only for the variant `registers`, which then takes any number of rows. */
  weight: Slice;
  /** (outputs), f32. */
  bias?: Slice | undefined;
  /** (rows, outputs), f32: result. */
  y: Slice;
  /** Rows. */
  rows: number;
  /** Length of the sums. */
  inputs: number;
  /** Columns of the result. */
  outputs: number;
  /**
   * `registers`: lanes keep the rows in registers and leave a sum each, without workgroup memory (software adapters); `workgroup`: the
   * lanes of a workgroup add up one output (GPUs). Default: by adapter.
   */
  variant?: "registers" | "workgroup";
}

/**
 * Tells whether {@linkcode gemv} computes a product, and faster than tiles do.
 *
 * @param gpu The device.
 * @param options Operands and sizes.
 * @returns Whether rows are few and f32, and inputs divide evenly among lanes.
 */
export function servesGemv(gpu: Gpu, options: GemvOptions): boolean {
  const { x, weight, bias, y, rows, inputs, outputs } = options;
  return rows >= 1 && (rows <= MOST_GEMV_ROWS || weight.texture !== undefined) && outputs >= 1 &&
    dividesForGemv(gpu, weight, inputs, options.variant) &&
    !x.half && !y.half && !bias?.half &&
    Math.max(x.bytes, y.bytes, bias?.bytes ?? 0) <= gpu.maxBindingBytes &&
    [x, y, ...bias ? [bias] : []].every(({ offsetBytes }) =>
      offsetBytes % gpu.offsetAlignment === 0
    );
}

/**
 * Tells whether inputs divide evenly among the lanes of {@linkcode gemv}.
 *
 * @param gpu The device.
 * @param weight The weights: their type decides how many a lane loads at once.
 * @param inputs Length of the sums.
 * @param variant As in {@linkcode GemvOptions}.
 * @returns Whether they do.
 */
export function dividesForGemv(
  gpu: Gpu,
  weight: Slice,
  inputs: number,
  variant: GemvOptions["variant"] = variantFor(gpu),
): boolean {
  return inputs % (variant === "registers" ? GEMV_LANES * 16 / elementBytes(weight) : 4) === 0;
}

/**
 * `y = x weight^T + bias` for few rows.
 *
 * @param gpu The device.
 * @param options Operands and sizes for which {@linkcode servesGemv} holds.
 * @throws {GpuMemoryError} If not even a few outputs' weights can be bound.
 */
export function gemv(gpu: Gpu, options: GemvOptions): void {
  const { weight, rows, inputs, outputs, variant = variantFor(gpu) } = options;
  const launch = variant === "registers" ? inRegisters : inWorkgroups;
  for (let first = 0; first < rows; first += ROWS_EACH) {
    const count = Math.min(ROWS_EACH, rows - first);
    const rowBytes = [
      elementBytes(weight) * inputs,
      4 * sumsOfRows(count) * inputs / laneLength(options),
    ];
    const ranges = splitRows(gpu, outputs, { rowBytes, operation: "gemv.multiply" });
    for (const range of ranges) launch(gpu, options, { rows: { start: first, count }, range });
  }
}

function variantFor(gpu: Gpu): "registers" | "workgroup" {
  return gpu.adapter.software ? "registers" : "workgroup";
}

/** Numbers that a lane leaves for an output: vectors have 1, 2 or 4. */
function sumsOfRows(rows: number): 1 | 2 | 4 {
  return rows === 1 ? 1 : rows === 2 ? 2 : 4;
}

/** Consecutive inputs of a lane: the most that divide the inputs evenly, in whole loads; whatever the rows, so that sums are the same. */
function laneLength({ inputs, weight }: GemvOptions): number {
  const unit = 16 / elementBytes(weight);
  const units = inputs / GEMV_LANES / unit;
  let length = Math.min(units, MOST_KEPT / unit);
  while (units % length !== 0) length--;
  return length * unit;
}

/** A part of a product. */
interface GemvPart {
  /** Rows of x. */
  rows: RowRange;
  /** Outputs. */
  range: RowRange;
}

function inRegisters(gpu: Gpu, options: GemvOptions, { rows, range }: GemvPart): void {
  const { x, weight, inputs } = options;
  const form = sumsOfRows(rows.count);
  const length = laneLength(options);
  const slices = inputs / length / GEMV_LANES;
  const shares = slices * GEMV_LANES;
  const sums = gpu.acquire(4 * form * shares * range.count, "partial sums of a product");
  // The kernel reads 16-bit weights as words of two.
  const { half = false, texture } = weight;
  const bound = texture ? weight : sliceRows(weight, range, elementBytes(weight) * inputs);
  gpu.run(gemvKernel({ rows: form, length, half, texels: texture !== undefined }), "multiply", {
    buffers: { weight: { ...bound, half: false }, x, sums },
    params: {
      first_row: rows.start,
      last_row: rows.start + rows.count - 1,
      inputs,
      first_output: range.start,
      outputs: range.count,
      slices,
      outputs_each: OUTPUTS_EACH,
    },
    workgroups: [Math.ceil(range.count / OUTPUTS_EACH), slices],
  });
  finish(gpu, "add", options, { rows, range, operand: { sums }, shares });
  gpu.release(sums);
}

function inWorkgroups(gpu: Gpu, options: GemvOptions, part: GemvPart): void {
  const rowBytes = elementBytes(options.weight) * options.inputs;
  const weight = sliceRows(options.weight, part.range, rowBytes);
  finish(gpu, "multiply", options, { ...part, operand: { weight, x: options.x }, shares: 0 });
}

/** Runs what writes the result. */
function finish(
  gpu: Gpu,
  entryPoint: "multiply" | "add",
  { x, y, bias, inputs, outputs }: GemvOptions,
  part: GemvPart & { operand: Record<string, Slice>; shares: number },
): void {
  const { rows, range, operand, shares } = part;
  const limit = gpu.limits.maxComputeWorkgroupsPerDimension;
  const lines = Math.ceil(range.count / limit);
  gpu.run(kernel, entryPoint, {
    buffers: { ...operand, bias: bias ?? x, y },
    params: {
      first_row: rows.start,
      packs: inputs / 4,
      first_output: range.start,
      outputs: range.count,
      all_outputs: outputs,
      shares,
      biased: bias ? 1 : 0,
    },
    constants: { ROWS: rows.count, ...entryPoint === "multiply" ? { THREADS: 64 } : {} },
    ...entryPoint === "multiply"
      ? { workgroups: [Math.ceil(range.count / lines), lines] }
      : { threads: range.count },
  });
}

/** Launchers of products of few rows with weights (outputs, inputs), as decoding needs them. @module */

import common from "./common.wgsl" with { type: "text" };
import source from "./gemv.wgsl" with { type: "text" };
import { GEMV_LANES, type GemvForm, gemvKernel } from "./gemv_source.ts";
import storeSource from "./gemv_store.wgsl" with { type: "text" };
import { texelGemvKernel, texelGemvSumBytes, texelGemvUnit } from "./gemv_texels.ts";
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import {
  elementBytes,
  type RowRange,
  type Slice,
  sliceRows,
  splitRows,
  subslice,
} from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("gemv", common, special, storeSource, source);

/** More rows are better served by tiles, which keep weights for many rows. */
export const MOST_GEMV_ROWS = 8;
type Variant = NonNullable<GemvOptions["variant"]>;

/** Rows of one dispatch. */
const ROWS_EACH = 4;
/**
 * Most numbers of a row that a lane keeps: more make longer texts, which `windows` repeat for each window; fewer divide the rows of
 * weights, and of parts that lie apart processors fetch less ahead: half the rate for parts of 2 KiB, two thirds for 5.
 */
const MOST_KEPT = { windows: 64, registers: 352 };
/** Outputs that a workgroup of a software adapter walks over: x is loaded once for them. */
const OUTPUTS_EACH = 128;
/** Uniform bindings of weights in a dispatch: more make longer texts, fewer more dispatches. */
const MOST_WINDOWS = 14;

/**
 * Longest rows that are multiplied by weights in textures: a lane keeps an eighth of them. Their text, of 140 KB, takes llvmpipe seven
 * seconds to compile, once; from storage buffers products of such rows take four times as long.
 */
const MOST_TEXEL_INPUTS = 5632;

/** How rows are normalized and modulated before they are multiplied. */
export interface GemvNorm {
  /** (inputs), f32. */
  weight: Slice;
  /** (rows, inputs), f32: the factor, less 1. */
  scale: Slice;
  /** (rows, inputs), f32. */
  shift: Slice;
  /** Added to the mean square. */
  eps: number;
}

/** Options of {@linkcode gemv}. */
export interface GemvOptions {
  /** (rows, inputs), f32. */
  x: Slice;
  /** What x goes through first, if anything: an RMS norm with a modulation. Only weights in textures are multiplied by such rows. */
  norm?: GemvNorm | undefined;
  /** (outputs, inputs), f32 or f16; where {@linkcode servesTexels} holds, faster as {@linkcode Gpu.copyToTexels} copies it. */
  weight: Slice;
  /** (outputs, inputs), of the type of `weight`: `y` is its product with x times `silu` of that of `weight` and x. */
  pair?: Slice | undefined;
  /** (outputs), f32. */
  bias?: Slice | undefined;
  /** What the product is multiplied by before something is added to it; both (rows, outputs), f32. */
  gated?: Record<"gate" | "residual", Slice> | undefined;
  /** (rows, outputs), f32: result. */
  y: Slice;
  /** Rows. */
  rows: number;
  /** Length of the sums. */
  inputs: number;
  /** Columns of the result. */
  outputs: number;
  /**
   * `windows` and `registers`: lanes keep the rows in registers and leave a sum each, without workgroup memory (software adapters), and
   * weights are bound as many uniform buffers or as one storage buffer; `workgroup`: the lanes of a workgroup add up one output (GPUs).
   * Default: by adapter; `windows` where loads from storage buffers are slow and the weights can be bound so. Weights in textures have
   * a way of their own.
   */
  variant?: "windows" | "registers" | "workgroup";
}

/** Storage buffers of the kernel that also normalizes its rows: more than WebGPU promises. */
const NORM_BINDINGS = 9;

/**
 * Tells whether {@linkcode gemv} computes a product, and faster than tiles do.
 *
 * @param gpu The device.
 * @param options Operands and sizes.
 * @returns Whether rows are few and f32, and inputs divide evenly among lanes.
 */
export function servesGemv(gpu: Gpu, options: GemvOptions): boolean {
  const { x, norm, weight, bias, gated, y, rows, inputs, outputs } = options;
  const others = [
    ...[x, y],
    ...bias ? [bias] : [],
    ...gated ? [gated.gate, gated.residual] : [],
    ...norm ? [norm.weight, norm.scale, norm.shift] : [],
  ];
  const variant = variantFor(gpu, options);
  const vectors = variant === "workgroup" ? 4 : lanesVectors(weight);
  return rows >= 1 && rows <= MOST_GEMV_ROWS && outputs >= 1 && inputs % vectors === 0 &&
    (!norm ||
      variant === "texels" && gpu.limits.maxStorageBuffersPerShaderStage >= NORM_BINDINGS) &&
    others.every(({ half, bytes, offsetBytes }) =>
      !half && bytes <= gpu.maxBindingBytes && offsetBytes % gpu.offsetAlignment === 0
    );
}

/**
 * Tells whether {@linkcode gemv} multiplies by weights in textures on this adapter.
 *
 * @param gpu The device.
 * @param options The weights, and how long their rows are.
 * @returns Whether it is a software adapter, and the rows fit its kernel.
 */
export function servesTexels(
  gpu: Gpu,
  { weight, inputs }: Pick<GemvOptions, "weight" | "inputs">,
): boolean {
  return gpu.adapter.software && inputs <= MOST_TEXEL_INPUTS && inputs % lanesVectors(weight) === 0;
}

/** Weights that the lanes of a software adapter load at a time. */
function lanesVectors(weight: Slice): number {
  return GEMV_LANES * 16 / elementBytes(weight);
}

/**
 * `y = x weight^T + bias` for few rows, or `silu(x weight^T) (x pair^T)`; then `residual + gate y`.
 *
 * @param gpu The device.
 * @param options Operands and sizes for which {@linkcode servesGemv} holds.
 * @throws {GpuMemoryError} If not even a few outputs' weights can be bound.
 */
export function gemv(gpu: Gpu, options: GemvOptions): void {
  const { weight, pair, rows, inputs, outputs } = options;
  const variant = variantFor(gpu, options);
  for (let first = 0; first < rows; first += ROWS_EACH) {
    const count = Math.min(ROWS_EACH, rows - first);
    const part = { start: first, count };
    if (variant === "texels") {
      inTexels(gpu, options, part);
      continue;
    }
    const launch = { windows: inWindows, registers: inRegisters, workgroup: inWorkgroups }[variant];
    const rowBytes = [
      ...variant === "windows" ? [] : [elementBytes(weight) * inputs],
      4 * (pair ? 2 : 1) * sumsOfRows(count) * inputs / laneLength(variant, options),
    ];
    const ranges = splitRows(gpu, outputs, { rowBytes, operation: "gemv.multiply" });
    for (const range of ranges) launch(gpu, options, { rows: part, range });
  }
}

function variantFor(
  gpu: Gpu,
  { variant, weight, pair = weight, inputs }: GemvOptions,
): Variant | "texels" {
  if (variant) return variant;
  if (weight.texture && pair.texture) return "texels";
  if (!gpu.adapter.software) return "workgroup";
  const windows = !gpu.adapter.hasMaskedVectors &&
    [weight, pair].every((bound) => fitsWindows(gpu, bound, inputs));
  return windows ? "windows" : "registers";
}

/** Bytes of the largest uniform binding. */
function windowBytes({ limits, maxBindingBytes }: Gpu): number {
  return Math.min(limits.maxUniformBufferBindingSize, maxBindingBytes);
}

/** Whether every row of weights may begin a uniform binding. */
function fitsWindows(gpu: Gpu, weight: Slice, inputs: number): boolean {
  const rowBytes = elementBytes(weight) * inputs;
  const { minUniformBufferOffsetAlignment } = gpu.limits;
  return rowBytes <= windowBytes(gpu) && rowBytes % minUniformBufferOffsetAlignment === 0 &&
    weight.offsetBytes % minUniformBufferOffsetAlignment === 0;
}

/** Numbers that a lane leaves for an output: vectors have 1, 2 or 4. */
function sumsOfRows(rows: number): 1 | 2 | 4 {
  return rows === 1 ? 1 : rows === 2 ? 2 : 4;
}

/** Inputs of a lane: the most that divide the inputs evenly, in whole loads; whatever the rows, so that sums are the same. */
function laneLength(
  variant: Variant,
  { inputs, weight }: GemvOptions,
): number {
  if (variant === "workgroup") return inputs;
  const unit = 16 / elementBytes(weight);
  const units = inputs / GEMV_LANES / unit;
  let length = Math.min(units, MOST_KEPT[variant] / unit);
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

function inRegisters(gpu: Gpu, options: GemvOptions, part: GemvPart): void {
  const { inputs } = options;
  const { range } = part;
  withSums(gpu, "registers", options, part, (form, weight, { buffers, params, slices }) => {
    const bound = sliceRows(weight, range, elementBytes(weight) * inputs);
    gpu.run(gemvKernel(form), "multiply", {
      // The kernel reads 16-bit weights as words of two.
      buffers: { ...buffers, weight: { ...bound, half: false } },
      params: { ...params, first_window: 0, outputs_each: OUTPUTS_EACH },
      workgroups: [Math.ceil(range.count / OUTPUTS_EACH), slices],
    });
  });
}

/**
 * Most software adapters gather from uniform buffers with one instruction for all lanes, and from storage buffers lane by lane. Uniform
 * bindings are small, so a dispatch has many of them.
 */
function inWindows(gpu: Gpu, options: GemvOptions, part: GemvPart): void {
  const { inputs } = options;
  const { range } = part;
  const rowBytes = elementBytes(options.weight) * inputs;
  const outputs = Math.min(Math.floor(windowBytes(gpu) / rowBytes), range.count);
  const total = Math.ceil(range.count / outputs);
  const count = Math.min(total, MOST_WINDOWS, gpu.limits.maxUniformBuffersPerShaderStage - 1);
  withSums(gpu, "windows", options, part, (form, weight, { buffers, params, slices }) => {
    const kernel = gemvKernel({ ...form, windows: { count, outputs, inputs } });
    for (let first = 0; first < total; first += count) {
      const windows = Array.from({ length: count }, (_, w): [string, Slice] => {
        const start = range.start + Math.min((first + w) * outputs, range.count - outputs);
        const bound = sliceRows(weight, { start, count: outputs }, rowBytes);
        return [`weight${w}`, { ...bound, half: false }];
      });
      gpu.run(kernel, "multiply", {
        buffers: { ...buffers, ...Object.fromEntries(windows) },
        params: { ...params, first_window: first, outputs_each: outputs },
        workgroups: [1, slices],
      });
    }
  });
}

/** What both ways of binding the weights have in common. */
interface LaneSums {
  buffers: Record<"x" | "sums", Slice>;
  params: Record<string, number>;
  /** Parts of the inputs, by workgroups of their own. */
  slices: number;
}

/** Lets `multiply` leave the sums of lanes, for each array of weights, and adds them up. */
function withSums(
  gpu: Gpu,
  variant: "windows" | "registers",
  options: GemvOptions,
  { rows, range }: GemvPart,
  multiply: (form: GemvForm, weight: Slice, sums: LaneSums) => void,
): void {
  const { x, weight, pair, inputs } = options;
  const count = sumsOfRows(rows.count);
  const length = laneLength(variant, options);
  const slices = inputs / length / GEMV_LANES;
  const shares = slices * GEMV_LANES;
  const weights = pair ? [weight, pair] : [weight];
  const sumBytes = 4 * count * shares * range.count;
  const alignment = Math.max(16, gpu.offsetAlignment);
  const pairFirst = Math.ceil(sumBytes / alignment) * alignment;
  const sums = gpu.acquire(
    pairFirst * (weights.length - 1) + sumBytes,
    "partial sums of a product",
  );
  for (const [i, each] of weights.entries()) {
    multiply({ rows: count, length, half: each.half ?? false }, each, {
      buffers: { x, sums: subslice(sums, i * pairFirst, sumBytes) },
      params: {
        first_row: rows.start,
        last_row: rows.start + rows.count - 1,
        inputs,
        outputs: range.count,
        slices,
      },
      slices,
    });
  }
  finish(gpu, "add", options, { rows, range, operand: { sums }, shares, pairFirst });
  gpu.release(sums);
}

function inWorkgroups(gpu: Gpu, options: GemvOptions, part: GemvPart): void {
  const { x, weight, pair = weight, inputs } = options;
  const bound = (slice: Slice): Slice => sliceRows(slice, part.range, elementBytes(slice) * inputs);
  const operand = { weight: bound(weight), pairWeight: bound(pair), x };
  finish(gpu, "multiply", options, { ...part, operand, shares: 0, pairFirst: 0 });
}

/** One dispatch; each processor gets the same number of outputs, as its driver deals workgroups out before they run. */
function inTexels(gpu: Gpu, options: GemvOptions, rows: RowRange): void {
  const { x, y, norm, weight, pair, inputs, outputs } = options;
  const form = {
    rows: sumsOfRows(rows.count),
    inputs,
    half: weight.half ?? false,
    paired: pair !== undefined,
    normed: norm !== undefined,
  };
  const unit = texelGemvUnit(form);
  const sumBytes = texelGemvSumBytes(form);
  const most = Math.min(navigator.hardwareConcurrency, Math.floor(gpu.maxBindingBytes / sumBytes));
  const each = unit * Math.ceil(outputs / unit / most);
  // The kernel reads 16-bit weights as words of two.
  const bound = (slice: Slice): Slice => ({ ...slice, half: false });
  const { weight: normWeight, scale, shift, eps } = norm ?? { eps: 0 };
  const rowsOf = normWeight && scale && shift ? { normWeight, scale, shift } : {};
  const workgroups = Math.ceil(outputs / each);
  const sums = gpu.acquire(sumBytes * workgroups, "partial sums of a product");
  gpu.run(texelGemvKernel(form), "multiply", {
    buffers: {
      x,
      weight: bound(weight),
      ...pair ? { pairWeight: bound(pair) } : {},
      ...rowsOf,
      ...storeBuffers(options),
      sums,
      y,
    },
    params: {
      first_row: rows.start,
      last_row: rows.start + rows.count - 1,
      first_output: 0,
      outputs,
      all_outputs: outputs,
      outputs_each: each,
      eps,
    },
    constants: {
      ...storeConstants(options, rows),
      IN_STEP: gpu.adapter.software && gpu.adapter.subgroupSize === GEMV_LANES ? 1 : 0,
    },
    workgroups: [workgroups],
  });
  gpu.release(sums);
}

/** What gemv_store.wgsl reads; what there is not is bound to something else. */
function storeBuffers(
  { x, bias = x, gated = { gate: x, residual: x } }: GemvOptions,
): Record<string, Slice> {
  return { bias, ...gated };
}

/** The constants of gemv_store.wgsl. */
function storeConstants(
  { pair, bias, gated }: GemvOptions,
  { count }: RowRange,
): Record<string, number> {
  return { ROWS: count, PAIRED: pair ? 1 : 0, BIASED: bias ? 1 : 0, GATED: gated ? 1 : 0 };
}

/** Runs what writes the result. */
function finish(
  gpu: Gpu,
  entryPoint: "multiply" | "add",
  options: GemvOptions,
  part: GemvPart & { operand: Record<string, Slice>; shares: number; pairFirst: number },
): void {
  const { rows, range, operand, shares, pairFirst } = part;
  const limit = gpu.limits.maxComputeWorkgroupsPerDimension;
  const lines = Math.ceil(range.count / limit);
  gpu.run(kernel, entryPoint, {
    buffers: { ...operand, ...storeBuffers(options), y: options.y },
    params: {
      first_row: rows.start,
      packs: options.inputs / 4,
      first_output: range.start,
      outputs: range.count,
      all_outputs: options.outputs,
      shares,
      pair_sums: pairFirst / 16,
    },
    constants: {
      ...storeConstants(options, rows),
      ...entryPoint === "multiply" ? { THREADS: 64 } : {},
    },
    ...entryPoint === "multiply"
      ? { workgroups: [Math.ceil(range.count / lines), lines] }
      : { threads: range.count },
  });
}

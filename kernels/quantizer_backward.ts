/** Launcher of the quantizer's backward: block by block of tokens, so that no more logits are in memory than the plan allows. @module */

import type { Gpu } from "./gpu.ts";
import { matmul } from "./matmul.ts";
import { computeDifferences, type LogitBlock, type QuantizerOperands } from "./quantizer_logits.ts";
import { rowShares, tokenRanges } from "./quantizer_plan.ts";
import { differentiateLogits, mergeRowSums, sumTerms } from "./quantizer_terms.ts";
import { reduce } from "./reduce.ts";
import { type Slice, sliceRows, subslice } from "./slice.ts";

/** Options of {@linkcode quantizerGradients}. */
export interface QuantizerGradientsOptions extends QuantizerOperands {
  /** As the forward wrote it, shape (rows, 4). */
  rowStatistics: Slice;
  /** The logits that the forward kept. */
  kept: readonly Slice[];
  /** Gradient that flows straight through to every code, shape (rows, dimensions). */
  dzq?: Slice | undefined;
  /** Gradient of the entropies: two factors, and a weight of each code, (codes) rounded up to a multiple of four. */
  entropy?: { coefficients: Slice; codeWeights: Slice } | undefined;
  /** Increased by the gradient through the logits, shape (rows, dimensions). */
  dz?: Slice | undefined;
  /** Overwritten with the gradient through the logits, shape (codes, dimensions). */
  dcodebook?: Slice | undefined;
  /** Called when the logits of a block, given by its number, are not needed any more. */
  onBlock?: ((block: number) => void) | undefined;
}

/**
 * Computes the gradients that pass through the logits: `dl = p (dzq·E - Σ p dzq·E)` for the straight-through one-hot, and those of the
 * entropies at temperature T; then `dz += dl E`, `dE = dlᵀ z`.
 *
 * @param gpu The device.
 * @param options Operands and extents.
 */
export function quantizerGradients(gpu: Gpu, options: QuantizerGradientsOptions): void {
  const { plan, kept } = options;
  for (const [at, range] of plan.blocks.entries()) {
    const bytes = 16 * plan.stride * range.count;
    const differences = kept[at] ?? gpu.acquire(bytes, "logits");
    const block = { range, differences };
    if (!kept[at]) computeAgain(gpu, options, block);
    const dlogits = gpu.acquire(bytes, "logit gradients");
    logitGradients(gpu, options, block, dlogits);
    if (!kept[at]) gpu.release(differences);
    options.onBlock?.(at);
    if (options.dz) addTokenGradients(gpu, options, block, dlogits);
    if (options.dcodebook) addCodeGradients(gpu, options, block, dlogits);
    gpu.release(dlogits);
  }
}

/** The statistics come out as they are known, and are dropped. */
function computeAgain(gpu: Gpu, options: QuantizerGradientsOptions, block: LogitBlock): void {
  const statistics = {
    indices: gpu.acquire(4 * options.rows, "codes of tokens"),
    rowStatistics: gpu.acquire(16 * options.rows, "statistics of tokens"),
    rowEntropies: gpu.acquire(4 * options.rows, "entropies of tokens"),
  };
  computeDifferences(gpu, options, block, statistics);
  for (const slice of Object.values(statistics)) gpu.release(slice);
}

function logitGradients(
  gpu: Gpu,
  options: QuantizerGradientsOptions,
  block: LogitBlock,
  dlogits: Slice,
): void {
  const { plan, dimensions, dzq, entropy } = options;
  const { stride } = plan;
  if (dzq) {
    matmul(gpu, {
      a: { slice: sliceRows(dzq, block.range, 4 * dimensions) },
      b: { slice: options.codebook },
      c: { slice: dlogits, rowStride: 4 * stride },
      rows: block.range.count,
      columns: options.codes,
      inner: dimensions,
      transposeB: true,
    });
  }
  const shares = rowShares(gpu, block.range.count, plan);
  const parts = shares.count * plan.threads;
  const scratch = [16 * stride, 8 * parts];
  for (const range of tokenRanges(gpu, block.range.count, { vector: 16, scratch })) {
    const tokens = { start: block.range.start + range.start, count: range.count };
    const rowSums = gpu.acquire(8 * range.count, "sums over the codes of a quantizer");
    const partialSums = gpu.acquire(8 * parts * range.count, "partial sums over the codes");
    const pass = {
      rows: range.count,
      plan,
      shares,
      inverseTemperature: 1 / (options.entropyTemperature ?? 1),
      differences: sliceRows(block.differences, range, 16 * stride),
      rowStatistics: sliceRows(options.rowStatistics, tokens, 16),
      dlogits: sliceRows(dlogits, range, 16 * stride),
      straightThrough: dzq !== undefined,
      entropy,
    };
    sumTerms(gpu, pass, partialSums);
    mergeRowSums(gpu, { partials: partialSums, rowSums, rows: range.count, parts });
    differentiateLogits(gpu, pass, rowSums);
    gpu.release(partialSums);
    gpu.release(rowSums);
  }
}

/** Sums over this many codes are complete before they are added up, so that they divide into shares that adapters run side by side. */
const CODES_A_SUM = 32768;

function addTokenGradients(
  gpu: Gpu,
  options: QuantizerGradientsOptions,
  block: LogitBlock,
  dlogits: Slice,
): void {
  const { plan, dimensions, codes } = options;
  const dz = sliceRows(options.dz!, block.range, 4 * dimensions);
  const slots = 1 + Math.ceil(codes / CODES_A_SUM);
  const sums = gpu.acquire(slots * dz.bytes, "gradients of a block of tokens");
  gpu.copy(dz, subslice(sums, 0, dz.bytes));
  for (let slot = 1; slot < slots; slot++) {
    const start = (slot - 1) * CODES_A_SUM;
    matmul(gpu, {
      a: { slice: dlogits, rowStride: 4 * plan.stride, offset: start },
      b: { slice: options.codebook, offset: start * dimensions },
      c: { slice: subslice(sums, slot * dz.bytes, dz.bytes) },
      rows: block.range.count,
      columns: dimensions,
      inner: Math.min(CODES_A_SUM, codes - start),
    });
  }
  reduce(gpu, "sum", { a: sums, y: dz, outer: 1, length: slots, inner: dz.bytes / 4 });
  gpu.release(sums);
}

function addCodeGradients(
  gpu: Gpu,
  options: QuantizerGradientsOptions,
  block: LogitBlock,
  dlogits: Slice,
): void {
  const { plan, dimensions, codes } = options;
  matmul(gpu, {
    a: { slice: dlogits, rowStride: 4 * plan.stride },
    b: { slice: sliceRows(options.z, block.range, 4 * dimensions) },
    c: { slice: options.dcodebook! },
    rows: codes,
    columns: dimensions,
    inner: block.range.count,
    transposeA: true,
    accumulate: block.range.start > 0,
  });
}

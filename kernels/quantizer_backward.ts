/** Launcher of the quantizer's backward: block by block of tokens, so that no more logits are in memory than the plan allows. @module */

import type { Gpu } from "./gpu.ts";
import { matmul, type MatrixOperand } from "./matmul.ts";
import { texelsOf } from "./matmul_texels.ts";
import { computeLogits, type LogitBlock, type QuantizerOperands } from "./quantizer_logits.ts";
import { bandLogits, logitBytes, rowShares, tokenRanges } from "./quantizer_plan.ts";
import {
  differentiateLogits,
  type GradientPass,
  mergeRowSums,
  sumTerms,
} from "./quantizer_terms.ts";
import { reduce } from "./reduce.ts";
import { type RowRange, type Slice, sliceRows, subslice } from "./slice.ts";

/** Options of {@linkcode quantizerGradients}. */
export interface QuantizerGradientsOptions extends QuantizerOperands {
  /** As the forward wrote it, shape (rows, 4). */
  rowStatistics: Slice;
  /** As the forward wrote it, shape (rows, bands). */
  bases: Slice;
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
    const bytes = logitBytes(plan, range.count);
    const logits = kept[at] ?? gpu.acquire(bytes, "logits");
    const block = { range, logits };
    if (!kept[at]) computeAgain(gpu, options, block);
    const dlogits = gpu.acquire(bytes, "logit gradients");
    const rowSums = gpu.acquire(8 * range.count, "sums over the codes of a quantizer");
    sumOverCodes(gpu, options, { ...block, dlogits, rowSums });
    addGradients(gpu, options, { ...block, dlogits, rowSums });
    gpu.release(rowSums);
    gpu.release(dlogits);
    if (!kept[at]) gpu.release(logits);
    options.onBlock?.(at);
  }
}

/**
 * A sum over codes that is a gradient by tokens has at most so many terms before it is added to others: long chains of additions lose
 * digits, and so many codes fit a core's second cache, which loads them for each tile of tokens.
 */
const CODES_A_SUM = 1024;

/** The statistics come out as they are known, and are dropped. */
function computeAgain(gpu: Gpu, options: QuantizerGradientsOptions, block: LogitBlock): void {
  const statistics = {
    indices: gpu.acquire(4 * options.rows, "codes of tokens"),
    rowStatistics: gpu.acquire(16 * options.rows, "statistics of tokens"),
    rowEntropies: gpu.acquire(4 * options.rows, "entropies of tokens"),
    bases: gpu.acquire(4 * options.rows * options.plan.bands.length, "bases of logits"),
  };
  computeLogits(gpu, options, block, statistics);
  for (const slice of Object.values(statistics)) gpu.release(slice);
}

/** A block, and what its backward computes. */
interface GradientBlock extends LogitBlock {
  /** The straight-through products, then the gradient by the logits: laid out as the logits. */
  dlogits: Slice;
  /** Sums over the codes that the gradients of the softmaxes subtract, (range.count, 2). */
  rowSums: Slice;
}

/** The passes over a band by some tokens of a block. */
function passOf(
  gpu: Gpu,
  options: QuantizerGradientsOptions,
  block: GradientBlock,
  { band, part }: { band: number; part: RowRange },
): GradientPass {
  const { plan } = options;
  const rows = block.range.count;
  const tokens = { start: block.range.start + part.start, count: part.count };
  return {
    rows: part.count,
    plan,
    band,
    shares: rowShares(gpu, rows, plan),
    inverseTemperature: 1 / (options.entropyTemperature ?? 1),
    logits: bandLogits(plan, { rows, logits: block.logits }, band, part),
    bases: sliceRows(options.bases, tokens, 4 * plan.bands.length),
    rowStatistics: sliceRows(options.rowStatistics, tokens, 16),
    dlogits: bandLogits(plan, { rows, logits: block.dlogits }, band, part),
    straightThrough: options.dzq !== undefined,
    entropy: options.entropy,
  };
}

/** Ranges of tokens whose passes over a band can be bound. */
function passRanges(gpu: Gpu, { plan }: QuantizerGradientsOptions, rows: number): RowRange[] {
  const scratch = [16 * plan.stride, 8 * plan.bands.length * rowShares(gpu, rows, plan).parts];
  return tokenRanges(gpu, rows, { vector: 16, scratch });
}

/** The straight-through products, and with them the sums: band by band, so that a cache still holds the products. */
function sumOverCodes(gpu: Gpu, options: QuantizerGradientsOptions, block: GradientBlock): void {
  const { plan, dimensions, dzq } = options;
  for (const part of passRanges(gpu, options, block.range.count)) {
    const { parts } = rowShares(gpu, block.range.count, plan);
    const allParts = plan.bands.length * parts;
    const partials = gpu.acquire(8 * allParts * part.count, "partial sums over the codes");
    const tokens = { start: block.range.start + part.start, count: part.count };
    const upstream = dzq && sliceRows(dzq, tokens, 4 * dimensions);
    const texels = upstream && texelsOf(gpu, upstream);
    for (const [band, codes] of plan.bands.entries()) {
      const pass = passOf(gpu, options, block, { band, part });
      if (upstream) {
        matmul(gpu, {
          a: { slice: upstream, texels },
          b: { slice: sliceRows(options.codebook, codes, 4 * dimensions) },
          c: { slice: pass.dlogits, rowStride: 4 * plan.stride },
          rows: part.count,
          columns: codes.count,
          inner: dimensions,
          transposeB: true,
        });
      }
      sumTerms(gpu, pass, partials);
    }
    if (texels) gpu.release(texels);
    const rowSums = sliceRows(block.rowSums, part, 8);
    mergeRowSums(gpu, { partials, rowSums, rows: part.count, parts: allParts });
    gpu.release(partials);
  }
}

/** The gradient by the logits of a band, and what it adds to those of tokens and codes. */
function addGradients(gpu: Gpu, options: QuantizerGradientsOptions, block: GradientBlock): void {
  const { plan, dimensions } = options;
  const { range, rowSums } = block;
  const dz = options.dz && sliceRows(options.dz, range, 4 * dimensions);
  const z = sliceRows(options.z, range, 4 * dimensions);
  const zTexels = texelsOf(gpu, z);
  const shares = Math.ceil(plan.bands[0]!.count / CODES_A_SUM);
  const sums = dz && gpu.acquire((1 + shares) * dz.bytes, "gradients of a block of tokens");
  for (const [band, codes] of plan.bands.entries()) {
    for (const part of passRanges(gpu, options, range.count)) {
      const pass = passOf(gpu, options, block, { band, part });
      differentiateLogits(gpu, pass, sliceRows(rowSums, part, 8));
    }
    const dlogits = bandLogits(plan, { rows: range.count, logits: block.dlogits }, band);
    const a = { slice: dlogits, texels: texelsOf(gpu, dlogits), rowStride: 4 * plan.stride };
    if (sums) addTokenGradients(gpu, options, { a, band, rows: range.count, sums });
    if (options.dcodebook) {
      matmul(gpu, {
        a,
        b: { slice: z, texels: zTexels },
        c: { slice: sliceRows(options.dcodebook, codes, 4 * dimensions) },
        rows: codes.count,
        columns: dimensions,
        inner: range.count,
        transposeA: true,
        accumulate: range.start > 0,
      });
    }
    if (a.texels) gpu.release(a.texels);
  }
  if (zTexels) gpu.release(zTexels);
  if (!sums) return;
  gpu.copy(dz, subslice(sums, shares * dz.bytes, dz.bytes));
  reduce(gpu, "sum", { a: sums, y: dz, outer: 1, length: shares + 1, inner: dz.bytes / 4 });
  gpu.release(sums);
}

/** Adds the gradient by the logits of a band to `sums`, (shares of a band, rows, dimensions), which the first band overwrites. */
function addTokenGradients(
  gpu: Gpu,
  { plan, dimensions, codebook }: QuantizerGradientsOptions,
  { a, band, rows, sums }: { a: MatrixOperand; band: number; rows: number; sums: Slice },
): void {
  const codes = plan.bands[band]!;
  const whole = Math.floor(codes.count / CODES_A_SUM);
  const rest = codes.count % CODES_A_SUM;
  for (const [first, count, inner] of [[0, whole, CODES_A_SUM], [whole, 1, rest]] as const) {
    if (count * inner === 0) continue;
    const start = first * CODES_A_SUM;
    matmul(gpu, {
      a: { ...a, offset: start, batchStrides: [CODES_A_SUM, 0] },
      b: {
        slice: sliceRows(codebook, codes, 4 * dimensions),
        offset: start * dimensions,
        batchStrides: [CODES_A_SUM * dimensions, 0],
      },
      c: { slice: sums, offset: first * rows * dimensions },
      rows,
      columns: dimensions,
      inner,
      batch: [count, 1],
      accumulate: band > 0,
    });
  }
}

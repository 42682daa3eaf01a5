/** Launchers of the passes over the logits of a block of tokens: differences from the maximum, statistics, average probabilities. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { MOST_ITERATIONS } from "./loop_limit.ts";
import { matmul } from "./matmul.ts";
import source from "./quantizer_forward.wgsl" with { type: "text" };
import {
  codeRanges,
  type LogitPlan,
  type QuantizerSize,
  ROWS_A_STEP,
  rowShares,
  sharesOf,
  tokenRanges,
} from "./quantizer_plan.ts";
import shared from "./quantizer_shared.wgsl" with { type: "text" };
import { type RowRange, type Slice, sliceRows } from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

/** The kernel of quantizer_forward.wgsl. */
export const quantizerKernel = defineKernel("quantizer", common, special, shared, source);

/** Parameters of quantizer_forward.wgsl. */
export interface ForwardParams {
  rows?: number;
  codes?: number;
  quads?: number;
  stride?: number;
  span?: number;
  parts?: number;
  firstCode?: number;
  firstPart?: number;
  depth?: number;
  mostSharpened?: number;
  accumulate?: number;
  largeLogit?: number;
  near?: number;
  inverseTemperature?: number;
  scale?: number;
}

/**
 * Completes parameters.
 *
 * @param given Those that an entry point reads.
 * @returns All.
 */
export function forwardParams(given: ForwardParams): Required<ForwardParams> {
  return {
    rows: 0,
    codes: 0,
    quads: 0,
    stride: 0,
    span: 0,
    parts: 0,
    firstCode: 0,
    firstPart: 0,
    depth: 0,
    mostSharpened: 0,
    accumulate: 0,
    largeLogit: 0,
    near: 0,
    inverseTemperature: 1,
    scale: 1,
    ...given,
  };
}

/** Bytes of the statistics of a row, in one lane. */
const STATISTICS_BYTES = 20;
/** Rows whose maximum is larger have the logits near it sharpened, where there are entropies. */
const LARGE_LOGIT = 8;
const NEVER_LARGE = 1e30;
/** As in quantizer_shared.wgsl: exponents from which on probabilities count. */
const NOTHING = -60;
/** Logits that a lane sharpens of its share of a row, at most. */
const MOST_SHARPENED = 32;

/** What is quantized, and how. */
export interface QuantizerOperands extends QuantizerSize {
  /** Tokens, shape (rows, dimensions). */
  z: Slice;
  /** Codes, shape (codes, dimensions). */
  codebook: Slice;
  /** Temperature T of the entropies' softmax, if there are entropies. */
  entropyTemperature?: number | undefined;
  /** How the tokens are divided. */
  plan: LogitPlan;
}

/** A block of tokens and where its logits are. */
export interface LogitBlock {
  /** The tokens. */
  range: RowRange;
  /** Their logits, (range.count, 4 plan.stride); see {@linkcode computeDifferences}. */
  differences: Slice;
}

/** What {@linkcode computeDifferences} learns of each token. */
export interface TokenStatistics {
  /** Written: u32 index of the largest logit of each token, the first of equal ones. */
  indices: Slice;
  /** Written: shape (rows, 4): largest logit m, log Σ exp(l - m), log Σ exp((l - m) / T), entropy of softmax(l / T). */
  rowStatistics: Slice;
  /** Written: the entropy alone, shape (rows). */
  rowEntropies: Slice;
}

/**
 * Computes the logits of a block as differences from each token's largest; past the last code of a row stand numbers whose exponential
 * is 0. The same operands give the same bits each time.
 *
 * @param gpu The device.
 * @param operands What is quantized.
 * @param block Which tokens, and where the differences are written.
 * @param statistics Where the statistics are written.
 */
export function computeDifferences(
  gpu: Gpu,
  operands: QuantizerOperands,
  block: LogitBlock,
  statistics: TokenStatistics,
): void {
  const { plan, codes, dimensions } = operands;
  const { threads } = plan;
  matmul(gpu, {
    a: { slice: sliceRows(operands.z, block.range, 4 * dimensions) },
    b: { slice: operands.codebook },
    c: { slice: block.differences, rowStride: 4 * plan.stride },
    rows: block.range.count,
    columns: codes,
    inner: dimensions,
    transposeB: true,
  });
  const ranges = codeRanges(gpu, operands);
  // Shares of one size for all ranges of codes, the last of which may be shorter.
  const { span } = rowShares(gpu, block.range.count, {
    quads: Math.ceil(ranges[0]!.count / 4),
    threads,
  });
  const partsOf = (quads: number): number => Math.ceil(quads / span) * threads;
  const parts = ranges.reduce((sum, { count }) => sum + partsOf(Math.ceil(count / 4)), 0);
  const vector = 4 * dimensions;
  const scratch = [16 * plan.stride, parts * STATISTICS_BYTES];
  for (const range of tokenRanges(gpu, block.range.count, { vector, scratch })) {
    const rows = range.count;
    const tokens = { start: block.range.start + range.start, count: rows };
    const maxima = gpu.acquire(4 * rows, "largest logits of a quantizer's tokens");
    const partials = gpu.acquire(rows * parts * STATISTICS_BYTES, "statistics of tokens");
    const logits = sliceRows(block.differences, range, 16 * plan.stride);
    const sizes = { rows, codes, stride: plan.stride, span, depth: dimensions };
    findMaxima(gpu, { logits, maxima, partMaxima: partials }, { ...plan, rows, codes, span });
    const { entropyTemperature } = operands;
    const inverseTemperature = 1 / (entropyTemperature ?? 1);
    let firstPart = 0;
    for (const part of ranges) {
      const count = partsOf(Math.ceil(part.count / 4));
      gpu.run(quantizerKernel, "differences", {
        buffers: {
          differing: logits,
          largest: maxima,
          z: sliceRows(operands.z, tokens, vector),
          codebook: sliceRows(operands.codebook, part, vector),
          partials,
        },
        params: forwardParams({
          ...sizes,
          quads: Math.ceil((part.start + part.count) / 4),
          parts,
          firstPart,
          firstCode: part.start,
          mostSharpened: Math.min(
            MOST_SHARPENED,
            Math.floor((MOST_ITERATIONS / 2) / (2 * dimensions)),
          ),
          largeLogit: entropyTemperature === undefined ? NEVER_LARGE : LARGE_LOGIT,
          near: NOTHING * (entropyTemperature ?? 0),
          inverseTemperature,
        }),
        constants: { THREADS: threads },
        workgroups: [count / threads, rows],
      });
      firstPart += count;
    }
    gpu.run(quantizerKernel, "finishRows", {
      buffers: {
        statisticsOfParts: partials,
        largest: maxima,
        indices: sliceRows(statistics.indices, tokens, 4),
        rowStatistics: sliceRows(statistics.rowStatistics, tokens, 16),
        rowEntropies: sliceRows(statistics.rowEntropies, tokens, 4),
      },
      params: forwardParams({ rows, parts, inverseTemperature }),
      threads: rows,
    });
    gpu.release(partials);
    gpu.release(maxima);
  }
}

function findMaxima(
  gpu: Gpu,
  buffers: { logits: Slice; maxima: Slice; partMaxima: Slice },
  sizes: LogitPlan & { rows: number; codes: number; span: number },
): void {
  const { logits, maxima, partMaxima } = buffers;
  const { threads, rows, codes, quads, stride, span } = sizes;
  const shares = Math.ceil(quads / span);
  const params = forwardParams({ rows, codes, quads, stride, span, parts: shares * threads });
  gpu.run(quantizerKernel, "maximaOfShares", {
    buffers: { logits, partMaxima },
    params,
    constants: { THREADS: threads },
    workgroups: [shares, rows],
  });
  gpu.run(quantizerKernel, "mergeMaxima", {
    buffers: { maximaOfParts: partMaxima, maxima },
    params,
    threads: rows,
  });
}

/**
 * Adds the probabilities at the entropy's temperature of a block's tokens, divided by the number of all tokens.
 *
 * @param gpu The device.
 * @param operands What is quantized; with entropies.
 * @param block The tokens.
 * @param buffers `rowStatistics` of all tokens; `average` (codes), which the first block overwrites and the others increase.
 */
export function addProbabilities(
  gpu: Gpu,
  operands: QuantizerOperands,
  block: LogitBlock,
  buffers: { rowStatistics: Slice; average: Slice },
): void {
  const { plan, codes, entropyTemperature = 1 } = operands;
  const { quads, stride, threads } = plan;
  const groups = Math.ceil(quads / threads);
  const ranges = tokenRanges(gpu, block.range.count, { vector: 16, scratch: [16 * stride] });
  for (const range of ranges) {
    const tokens = { start: block.range.start + range.start, count: range.count };
    const step = Math.ceil(range.count * quads * 16 / gpu.maxBindingBytes / ROWS_A_STEP) *
      ROWS_A_STEP;
    const { count, span } = sharesOf(gpu, { count: range.count, step, groups });
    const averages = gpu.acquire(16 * count * quads, "partial sums of probabilities");
    gpu.run(quantizerKernel, "sumProbabilities", {
      buffers: {
        logits: sliceRows(block.differences, range, 16 * stride),
        statisticsOfRows: sliceRows(buffers.rowStatistics, tokens, 16),
        averages,
      },
      params: forwardParams({
        rows: range.count,
        quads,
        stride,
        span,
        near: NOTHING * entropyTemperature,
        inverseTemperature: 1 / entropyTemperature,
      }),
      constants: { THREADS: threads },
      workgroups: [groups, count],
    });
    gpu.run(quantizerKernel, "mergeAverages", {
      buffers: { averageParts: averages, average: buffers.average },
      params: forwardParams({
        codes,
        quads,
        parts: count,
        scale: 1 / operands.rows,
        accumulate: tokens.start === 0 ? 0 : 1,
      }),
      threads: codes,
    });
    gpu.release(averages);
  }
}

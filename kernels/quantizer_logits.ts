/** Launchers of the logits of a block of tokens and the passes over them: differences from the maximum, statistics, average probabilities. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { MOST_ITERATIONS } from "./loop_limit.ts";
import { matmul } from "./matmul.ts";
import { texelsOf } from "./matmul_texels.ts";
import source from "./quantizer_forward.wgsl" with { type: "text" };
import {
  bandLogits,
  bandQuads,
  type LogitPlan,
  type QuantizerSize,
  rowGroups,
  ROWS_A_STEP,
  type RowShares,
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
  rowLanes?: number;
  parts?: number;
  bands?: number;
  band?: number;
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
    rowLanes: 1,
    parts: 0,
    bands: 0,
    band: 0,
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
  /** Their logits, (bands, range.count, 4 plan.stride); see {@linkcode computeLogits}. */
  logits: Slice;
}

/** What {@linkcode computeLogits} learns of each token. */
export interface TokenStatistics {
  /** Written: u32 index of the largest logit of each token, the first of equal ones. */
  indices: Slice;
  /** Written: shape (rows, 4): largest logit m, log Σ exp(l - m), log Σ exp((l - m) / T), entropy of softmax(l / T). */
  rowStatistics: Slice;
  /** Written: the entropy alone, shape (rows). */
  rowEntropies: Slice;
  /** Written: what is to be subtracted from the logits that are left in a band, shape (rows, bands). */
  bases: Slice;
  /**
   * Probabilities at the entropy's temperature, divided by the number of all tokens and summed over the tokens, shape (codes): the first
   * block overwrites, the others increase.
   */
  average?: Slice | undefined;
}

/** Some tokens of a block. */
interface Tokens extends LogitBlock {
  /** Which of the block's. */
  part: RowRange;
  /** Which of all. */
  tokens: RowRange;
  /** How rows of the block are divided. */
  shares: RowShares;
}

/**
 * Computes the logits of a block. In bands with a logit near the token's largest, differences from that one are left, else the logits
 * themselves: what is to be subtracted for the difference tell the bases. Past the last code of a band stand numbers whose exponential is
 * 0. The same operands give the same bits each time.
 *
 * @param gpu The device.
 * @param operands What is quantized.
 * @param block Which tokens, and where the differences are written.
 * @param statistics Where the statistics are written.
 */
export function computeLogits(
  gpu: Gpu,
  operands: QuantizerOperands,
  block: LogitBlock,
  statistics: TokenStatistics,
): void {
  const { plan, dimensions } = operands;
  const shares = rowShares(gpu, block.range.count, plan);
  const bandCount = plan.bands.length;
  const scratch = [16 * plan.stride, bandCount * shares.parts * STATISTICS_BYTES];
  for (const part of tokenRanges(gpu, block.range.count, { vector: 4 * dimensions, scratch })) {
    const { count } = part;
    const tokens = { start: block.range.start + part.start, count };
    const some = { ...block, part, tokens, shares };
    const bases = sliceRows(statistics.bases, tokens, 4 * bandCount);
    const maxima = gpu.acquire(4 * count, "largest logits of a quantizer's tokens");
    const partials = gpu.acquire(
      count * bandCount * shares.parts * STATISTICS_BYTES,
      "statistics of tokens",
    );
    multiplyCodes(gpu, operands, some, { maxima, partials, bases });
    subtractMaxima(gpu, operands, some, { ...statistics, maxima, partials, bases });
    if (statistics.average) {
      addProbabilities(gpu, operands, some, {
        bases,
        statisticsOfRows: sliceRows(statistics.rowStatistics, tokens, 16),
        average: statistics.average,
      });
    }
    gpu.release(partials);
    gpu.release(maxima);
  }
}

function logitsOf({ plan }: QuantizerOperands, block: Tokens, band: number): Slice {
  const { range, logits, part } = block;
  return bandLogits(plan, { rows: range.count, logits }, band, part);
}

/** What passes over a band have in common. */
function bandParams(
  { plan, dimensions }: QuantizerOperands,
  { part, shares }: Tokens,
  band: number,
): ForwardParams {
  const range = plan.bands[band]!;
  return {
    rows: part.count,
    codes: range.count,
    quads: bandQuads(range),
    stride: plan.stride,
    span: shares.span,
    rowLanes: plan.rowLanes,
    parts: plan.bands.length * shares.parts,
    bands: plan.bands.length,
    band,
    firstCode: range.start,
    firstPart: band * shares.parts,
    depth: dimensions,
  };
}

/** Band by band, so that a cache still holds the logits when their statistics are computed. */
function multiplyCodes(
  gpu: Gpu,
  operands: QuantizerOperands,
  tokens: Tokens,
  { maxima, partials, bases }: { maxima: Slice; partials: Slice; bases: Slice },
): void {
  const { plan, dimensions, entropyTemperature } = operands;
  const { threads, bands, stride } = plan;
  const rows = tokens.part.count;
  const z = sliceRows(operands.z, tokens.tokens, 4 * dimensions);
  const texels = texelsOf(gpu, z);
  for (const [band, codes] of bands.entries()) {
    const logits = logitsOf(operands, tokens, band);
    matmul(gpu, {
      a: { slice: z, texels },
      b: { slice: sliceRows(operands.codebook, codes, 4 * dimensions) },
      c: { slice: logits, rowStride: 4 * stride },
      rows,
      columns: codes.count,
      inner: dimensions,
      transposeB: true,
    });
    gpu.run(quantizerKernel, "statisticsOfShares", {
      buffers: { differing: logits, partials },
      params: forwardParams(bandParams(operands, tokens, band)),
      constants: { THREADS: threads },
      workgroups: [tokens.shares.count, rowGroups(plan, rows)],
      work: { bytes: 16 * rows * bandQuads(codes) },
    });
  }
  if (texels) gpu.release(texels);
  gpu.run(quantizerKernel, "mergeMaxima", {
    buffers: { statisticsOfParts: partials, maxima, bases },
    params: forwardParams({
      rows,
      parts: bands.length * tokens.shares.parts,
      bands: bands.length,
      near: NOTHING * (entropyTemperature ?? 0),
    }),
    threads: rows,
  });
}

function subtractMaxima(
  gpu: Gpu,
  operands: QuantizerOperands,
  some: Tokens,
  buffers: TokenStatistics & { maxima: Slice; partials: Slice },
): void {
  const { plan, dimensions, entropyTemperature } = operands;
  const { tokens, shares } = some;
  const { maxima: largest, partials, bases: basesOfRows } = buffers;
  const vector = 4 * dimensions;
  const inverseTemperature = 1 / (entropyTemperature ?? 1);
  const mostSharpened = Math.min(
    MOST_SHARPENED,
    Math.floor((MOST_ITERATIONS / 2) / (2 * dimensions)),
  );
  for (const [band, codes] of plan.bands.entries()) {
    gpu.run(quantizerKernel, "differences", {
      buffers: {
        differing: logitsOf(operands, some, band),
        largest,
        z: sliceRows(operands.z, tokens, vector),
        codebook: sliceRows(operands.codebook, codes, vector),
        basesOfRows,
        partials,
      },
      params: forwardParams({
        ...bandParams(operands, some, band),
        mostSharpened,
        largeLogit: entropyTemperature === undefined ? NEVER_LARGE : LARGE_LOGIT,
        near: NOTHING * (entropyTemperature ?? 0),
        inverseTemperature,
      }),
      constants: { THREADS: plan.threads },
      workgroups: [shares.count, rowGroups(plan, tokens.count)],
    });
  }
  gpu.run(quantizerKernel, "finishRows", {
    buffers: {
      statisticsOfParts: partials,
      largest,
      basesOfRows,
      indices: sliceRows(buffers.indices, tokens, 4),
      rowStatistics: sliceRows(buffers.rowStatistics, tokens, 16),
      rowEntropies: sliceRows(buffers.rowEntropies, tokens, 4),
    },
    params: forwardParams({
      rows: tokens.count,
      parts: plan.bands.length * shares.parts,
      bands: plan.bands.length,
      inverseTemperature,
    }),
    threads: tokens.count,
  });
}

/** Vectors of four whose probabilities a lane sums up over rows. */
const QUADS_A_LANE = 4;

function addProbabilities(
  gpu: Gpu,
  operands: QuantizerOperands,
  some: Tokens,
  buffers: { bases: Slice; statisticsOfRows: Slice; average: Slice },
): void {
  const { plan, entropyTemperature = 1 } = operands;
  const { bases: basesOfRows, statisticsOfRows } = buffers;
  const rows = some.part.count;
  for (const [band, codes] of plan.bands.entries()) {
    const quads = bandQuads(codes);
    const groups = Math.ceil(quads / (QUADS_A_LANE * plan.threads));
    const step = Math.ceil(rows * quads * 16 / gpu.maxBindingBytes / ROWS_A_STEP) * ROWS_A_STEP;
    const { count, span } = sharesOf(gpu, { count: rows, step, groups });
    const averages = gpu.acquire(16 * count * quads, "partial sums of probabilities");
    gpu.run(quantizerKernel, "sumProbabilities", {
      buffers: { logits: logitsOf(operands, some, band), statisticsOfRows, basesOfRows, averages },
      params: forwardParams({
        ...bandParams(operands, some, band),
        span,
        inverseTemperature: 1 / entropyTemperature,
      }),
      constants: { THREADS: plan.threads },
      workgroups: [groups, count],
    });
    gpu.run(quantizerKernel, "mergeAverages", {
      buffers: { averageParts: averages, average: sliceRows(buffers.average, codes, 4) },
      params: forwardParams({
        codes: codes.count,
        quads,
        parts: count,
        scale: 1 / operands.rows,
        accumulate: some.tokens.start === 0 ? 0 : 1,
      }),
      threads: codes.count,
    });
    gpu.release(averages);
  }
}

/**
 * Launchers of the quantizer's forward: two passes over the codebook and what joins them, in memory of the size of tokens and codes.
 *
 * @module
 */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import source from "./quantizer_forward.wgsl" with { type: "text" };
import {
  codeRanges,
  type QuantizerSize,
  quantizerTile,
  splitLoop,
  tokenRanges,
} from "./quantizer_plan.ts";
import { quantizerKernel } from "./quantizer_tiles.ts";
import { type Slice, sliceRows, splitRows } from "./slice.ts";
import shared from "./quantizer_shared.wgsl" with { type: "text" };
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("quantizer", common, shared, special, source);

/** Bytes of the statistics of a row, in one lane. */
const STATISTICS_BYTES = 24;

interface ForwardParams {
  rows?: number;
  codes?: number;
  parts?: number;
  firstCode?: number;
  accumulate?: number;
  scale?: number;
  inverseTemperature?: number;
}

function params(given: ForwardParams): Required<ForwardParams> {
  return {
    rows: 0,
    codes: 0,
    parts: 0,
    firstCode: 0,
    accumulate: 0,
    scale: 1,
    inverseTemperature: 1,
    ...given,
  };
}

/** Options of {@linkcode tokenStatistics}. */
export interface TokenStatisticsOptions extends QuantizerSize {
  /** Tokens, shape (rows, dimensions). */
  z: Slice;
  /** Codes, shape (codes, dimensions). */
  codebook: Slice;
  /** Written: u32 index of the largest logit of each token, the first of equal ones. */
  indices: Slice;
  /** Written: shape (rows, 4): largest logit m, log Σ exp(l - m), log Σ exp((l - m) / T), entropy of softmax(l / T). */
  rowStatistics: Slice;
  /** Written: the entropy alone, shape (rows). */
  rowEntropies: Slice;
  /** Temperature T; without, the last two statistics are meaningless. */
  entropyTemperature?: number | undefined;
}

/**
 * Runs the first pass over the codebook: largest logit, its code, and the sums that normalize both softmaxes.
 *
 * @param gpu The device.
 * @param options Operands and extents.
 */
export function tokenStatistics(gpu: Gpu, options: TokenStatisticsOptions): void {
  const { z, codebook, rows, codes, dimensions, entropyTemperature } = options;
  const tile = quantizerTile(gpu, options, {
    entropy: entropyTemperature !== undefined,
    sharp: entropyTemperature !== undefined,
    straightThrough: false,
  });
  const inverseTemperature = 1 / (entropyTemperature ?? 1);
  const ranges = codeRanges(gpu, options);
  const { splits, span } = splitLoop(gpu, tile, {
    dimensions,
    count: ranges[0]!.count,
    step: gpu.threads * tile.codes,
    groups: Math.ceil(rows / tile.rows),
    most: (rows + codes) * 4 * dimensions / (rows * gpu.threads * STATISTICS_BYTES),
  });
  const partBytes = splits * gpu.threads * STATISTICS_BYTES;
  for (const range of tokenRanges(gpu, options, partBytes)) {
    const partials = gpu.acquire(range.count * partBytes, "statistics of a quantizer's tokens");
    const merged = gpu.acquire(
      range.count * STATISTICS_BYTES,
      "statistics of a quantizer's tokens",
    );
    for (const [at, part] of ranges.entries()) {
      const parts = Math.ceil(part.count / span) * gpu.threads;
      gpu.run(quantizerKernel("statistics", tile), "statistics", {
        buffers: {
          z: sliceRows(z, range, 4 * dimensions),
          codebook: sliceRows(codebook, part, 4 * dimensions),
          partials,
        },
        params: {
          rows: range.count,
          codes: part.count,
          depth: tile.vector ? dimensions / 4 : dimensions,
          firstCode: part.start,
          span,
          stride: 0,
          inverseTemperature,
        },
        workgroups: [parts / gpu.threads, Math.ceil(range.count / tile.rows)],
      });
      gpu.run(kernel, "mergeStatistics", {
        buffers: { partials, merged },
        params: params({
          rows: range.count,
          parts,
          accumulate: at === 0 ? 0 : 1,
          inverseTemperature,
        }),
        threads: range.count,
      });
    }
    gpu.run(kernel, "finishRows", {
      buffers: {
        merged,
        indices: sliceRows(options.indices, range, 4),
        rowStatistics: sliceRows(options.rowStatistics, range, 16),
        rowEntropies: sliceRows(options.rowEntropies, range, 4),
      },
      params: params({ rows: range.count, inverseTemperature }),
      threads: range.count,
    });
    gpu.release(partials);
    gpu.release(merged);
  }
}

/** Options of {@linkcode averageProbabilities}. */
export interface AverageProbabilitiesOptions extends QuantizerSize {
  /** Tokens, shape (rows, dimensions). */
  z: Slice;
  /** Codes, shape (codes, dimensions). */
  codebook: Slice;
  /** As {@linkcode tokenStatistics} wrote it. */
  rowStatistics: Slice;
  /** Written: mean over the tokens of softmax(l / T), shape (codes). */
  average: Slice;
  /** Temperature T. */
  entropyTemperature: number;
}

/**
 * Runs the second pass over the codebook: the mean probability of each code at temperature T.
 *
 * @param gpu The device.
 * @param options Operands and extents.
 */
export function averageProbabilities(gpu: Gpu, options: AverageProbabilitiesOptions): void {
  const { rows, dimensions, entropyTemperature } = options;
  const tile = quantizerTile(gpu, options, {
    entropy: true,
    sharp: true,
    straightThrough: false,
  });
  for (const part of codeRanges(gpu, options)) {
    for (const range of tokenRanges(gpu, options, 0)) {
      const groups = Math.ceil(part.count / (gpu.threads * tile.codes));
      const { splits, span } = splitLoop(gpu, tile, {
        dimensions,
        count: range.count,
        step: tile.rows,
        groups,
        most: Math.min(gpu.maxBindingBytes / (4 * part.count), dimensions),
      });
      const averageParts = gpu.acquire(4 * splits * part.count, "partial sums of probabilities");
      gpu.run(quantizerKernel("average", tile), "average", {
        buffers: {
          z: sliceRows(options.z, range, 4 * dimensions),
          codebook: sliceRows(options.codebook, part, 4 * dimensions),
          rowStatistics: sliceRows(options.rowStatistics, range, 16),
          partials: averageParts,
        },
        params: {
          rows: range.count,
          codes: part.count,
          depth: tile.vector ? dimensions / 4 : dimensions,
          firstCode: part.start,
          span,
          stride: 0,
          inverseTemperature: 1 / entropyTemperature,
        },
        workgroups: [groups, splits],
      });
      gpu.run(kernel, "mergeAverages", {
        buffers: { averageParts, average: sliceRows(options.average, part, 4) },
        params: params({
          codes: part.count,
          parts: splits,
          scale: 1 / rows,
          accumulate: range.start === 0 ? 0 : 1,
        }),
        threads: part.count,
      });
      gpu.release(averageParts);
    }
  }
}

/**
 * Computes `-p log(p + 1e-5)`, whose sum is the entropy.
 *
 * @param gpu The device.
 * @param buffers `probabilities` and, written, `entropyTerms`, equally long.
 */
export function averageEntropyTerms(
  gpu: Gpu,
  buffers: { probabilities: Slice; entropyTerms: Slice },
): void {
  const codes = buffers.probabilities.bytes / 4;
  gpu.run(kernel, "averageEntropyTerms", {
    buffers: { ...buffers },
    params: params({ codes }),
    threads: codes,
  });
}

/**
 * Adds to a histogram of codes.
 *
 * @param gpu The device.
 * @param buffers `indices`, u32 of any number; `counts`, u32 of each code, which are increased.
 */
export function countCodes(gpu: Gpu, buffers: { indices: Slice; counts: Slice }): void {
  const rows = buffers.indices.bytes / 4;
  const options = { rowBytes: [4], operation: "the counts of codes" };
  for (const range of splitRows(gpu, rows, options)) {
    for (const part of splitRows(gpu, buffers.counts.bytes / 4, options)) {
      gpu.run(kernel, "countCodes", {
        buffers: {
          chosen: sliceRows(buffers.indices, range, 4),
          counts: sliceRows(buffers.counts, part, 4),
        },
        params: params({ rows: range.count, codes: part.count, firstCode: part.start }),
        threads: range.count,
      });
    }
  }
}

/** Launchers of the quantizer's forward: one product of tokens and codes, block by block of tokens, and passes over its logits. @module */

import type { Gpu } from "./gpu.ts";
import {
  computeLogits,
  forwardParams,
  quantizerKernel,
  type QuantizerOperands,
  type TokenStatistics,
} from "./quantizer_logits.ts";
import { logitBytes } from "./quantizer_plan.ts";
import { type Slice, sliceRows, splitRows } from "./slice.ts";

/** Options of {@linkcode quantizeTokens}. */
export interface QuantizeTokensOptions extends QuantizerOperands, TokenStatistics {
  /** Written: the logits of the first blocks, as {@linkcode computeLogits} leaves them; at most `plan.kept`. */
  kept: readonly Slice[];
}

/**
 * Finds each token's code, the statistics of both softmaxes, and the average probabilities.
 *
 * @param gpu The device.
 * @param options Operands and results.
 */
export function quantizeTokens(gpu: Gpu, options: QuantizeTokensOptions): void {
  const { plan, kept } = options;
  for (const [at, range] of plan.blocks.entries()) {
    const logits = kept[at] ?? gpu.acquire(logitBytes(plan, range.count), "logits");
    computeLogits(gpu, options, { range, logits }, options);
    if (!kept[at]) gpu.release(logits);
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
  gpu.run(quantizerKernel, "averageEntropyTerms", {
    buffers: { ...buffers },
    params: forwardParams({ codes }),
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
      gpu.run(quantizerKernel, "countCodes", {
        buffers: {
          chosen: sliceRows(buffers.indices, range, 4),
          counts: sliceRows(buffers.counts, part, 4),
        },
        params: forwardParams({ rows: range.count, codes: part.count, firstCode: part.start }),
        threads: range.count,
      });
    }
  }
}

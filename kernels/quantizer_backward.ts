/**
 * Launchers of the quantizer's backward: logits are computed again chunk by chunk, as flash attention does, so that memory stays of the
 * size of tokens and codes.
 *
 * @module
 */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { matmul } from "./matmul.ts";
import source from "./quantizer_backward.wgsl" with { type: "text" };
import {
  chunkCodes,
  codeRanges,
  type QuantizerSize,
  quantizerTile,
  splitLoop,
  tokenRanges,
} from "./quantizer_plan.ts";
import { quantizerKernel, type QuantizerTile } from "./quantizer_tiles.ts";
import { type RowRange, type Slice, sliceRows } from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("quantizer_backward", common, special, source);

interface BackwardParams {
  rows?: number;
  codes?: number;
  depth?: number;
  parts?: number;
  firstCode?: number;
  accumulate?: number;
  alpha?: number;
  gamma?: number;
  sampleWeight?: number;
  averageWeight?: number;
}

function params(given: BackwardParams): Required<BackwardParams> {
  return {
    rows: 0,
    codes: 0,
    depth: 0,
    parts: 0,
    firstCode: 0,
    accumulate: 0,
    alpha: 0,
    gamma: 0,
    sampleWeight: 0,
    averageWeight: 0,
    ...given,
  };
}

/**
 * `y = alpha dzq + gamma dquantLoss difference`, where `dquantLoss` is one number on the device.
 *
 * @param gpu The device.
 * @param options Equally long `dzq`, `difference` (z_q - z) and, written, `y`.
 */
export function addResidual(
  gpu: Gpu,
  options: {
    dzq: Slice;
    difference: Slice;
    dquantLoss: Slice;
    y: Slice;
    alpha: number;
    gamma: number;
  },
): void {
  const { dzq, difference, dquantLoss, y, alpha, gamma } = options;
  const rows = y.bytes / 4;
  for (const range of tokenRanges(gpu, { rows, codes: 0, dimensions: 1 }, 0)) {
    gpu.run(kernel, "residual", {
      buffers: {
        dzq: sliceRows(dzq, range, 4),
        difference: sliceRows(difference, range, 4),
        dquantLoss,
        rowGradients: sliceRows(y, range, 4),
      },
      params: params({ rows: range.count, depth: 1, alpha, gamma }),
      threads: range.count,
    });
  }
}

/**
 * Prepares the entropies' gradients: what {@linkcode quantizerGradients} takes as `coefficients` and `codeWeights`.
 *
 * @param gpu The device.
 * @param options Gradients of the three scalars, one number each; `average` probabilities (codes); written: `coefficients` (2) and
 * `codeWeights` (codes).
 */
export function prepareEntropyGradients(
  gpu: Gpu,
  options: {
    dEntropyLoss: Slice;
    dSampleEntropy: Slice;
    dAverageEntropy: Slice;
    average: Slice;
    coefficients: Slice;
    codeWeights: Slice;
    rows: number;
    entropyTemperature: number;
    sampleWeight: number;
    averageWeight: number;
  },
): void {
  const { rows, entropyTemperature, sampleWeight, averageWeight } = options;
  const { dEntropyLoss, dSampleEntropy, dAverageEntropy, coefficients } = options;
  gpu.run(kernel, "entropyCoefficients", {
    buffers: { dEntropyLoss, dSampleEntropy, dAverageEntropy, coefficients },
    params: params({ alpha: 1 / (entropyTemperature * rows), sampleWeight, averageWeight }),
    workgroups: [1],
  });
  const codes = options.average.bytes / 4;
  gpu.run(kernel, "averageEntropyWeights", {
    buffers: { probabilities: options.average, codeWeights: options.codeWeights },
    params: params({ codes }),
    threads: codes,
  });
}

/** Options of {@linkcode quantizerGradients}. */
export interface QuantizerGradientsOptions extends QuantizerSize {
  /** Tokens, shape (rows, dimensions). */
  z: Slice;
  /** Codes, shape (codes, dimensions). */
  codebook: Slice;
  /** As the forward wrote it, shape (rows, 4). */
  rowStatistics: Slice;
  /** Gradient that flows straight through to every code, shape (rows, dimensions). */
  dzq?: Slice | undefined;
  /** Temperature T, if the forward had one. */
  entropyTemperature?: number | undefined;
  /** Gradient of the entropies. */
  entropy?: { coefficients: Slice; codeWeights: Slice } | undefined;
  /** Increased by the gradient through the logits, shape (rows, dimensions). */
  dz?: Slice | undefined;
  /** Increased (`accumulate`) by, or overwritten with, the gradient through the logits, shape (codes, dimensions). */
  dcodebook?: Slice | undefined;
}

interface Pass extends QuantizerGradientsOptions {
  tile: QuantizerTile;
  rowSums: Slice;
}

/**
 * Computes the gradients that pass through the logits: `dl = p (dzq·E - Σ p dzq·E)` for the straight-through one-hot, and those of the
 * entropies at temperature T; then `dz += dl E`, `dE = dlᵀ z`.
 *
 * @param gpu The device.
 * @param options Operands and extents.
 */
export function quantizerGradients(gpu: Gpu, options: QuantizerGradientsOptions): void {
  const { dz, dcodebook, rows, dimensions, dzq, entropy } = options;
  const tile = quantizerTile(gpu, options, {
    entropy: entropy !== undefined,
    sharp: options.entropyTemperature !== undefined,
    straightThrough: dzq !== undefined,
  });
  const rowSums = gpu.acquire(8 * rows, "sums over the codes of a quantizer");
  const pass = { ...options, tile, rowSums };
  sumRows(gpu, pass);
  // Chunks of 64 codes and more also begin at aligned offsets of the vectors that hold one number a code.
  const step = Math.max(64, gpu.threads * tile.codes);
  for (const range of tokenRanges(gpu, options, 4 * step)) {
    const chunk = chunkCodes(gpu, options, { rows: range.count, step });
    const dlogits = gpu.acquire(4 * range.count * chunk, "logit gradients of a chunk of codes");
    for (const part of codeRanges(gpu, options)) {
      for (let start = part.start; start < part.start + part.count; start += chunk) {
        const codes = { start, count: Math.min(chunk, part.start + part.count - start) };
        const stride = Math.ceil(codes.count / 4) * 4;
        differentiateLogits(gpu, pass, { range, part, codes, stride, dlogits });
        const offset = (start - part.start) * dimensions;
        const x = { slice: dlogits, rowStride: stride };
        if (dz) {
          matmul(gpu, {
            a: x,
            b: { slice: sliceRows(options.codebook, part, 4 * dimensions), offset },
            c: { slice: sliceRows(dz, range, 4 * dimensions) },
            rows: range.count,
            columns: dimensions,
            inner: codes.count,
            accumulate: true,
          });
        }
        if (dcodebook) {
          matmul(gpu, {
            a: x,
            b: { slice: sliceRows(options.z, range, 4 * dimensions) },
            c: { slice: sliceRows(dcodebook, part, 4 * dimensions), offset },
            rows: codes.count,
            columns: dimensions,
            inner: range.count,
            transposeA: true,
            accumulate: range.start > 0,
          });
        }
      }
    }
    gpu.release(dlogits);
  }
  gpu.release(rowSums);
}

/** First pass: the sums over the codes that the gradient of each softmax subtracts. */
function sumRows(gpu: Gpu, pass: Pass): void {
  const { tile, rowSums, rows, codes, dimensions } = pass;
  const ranges = codeRanges(gpu, pass);
  const { splits, span } = splitLoop(gpu, tile, {
    dimensions,
    count: ranges[0]!.count,
    step: gpu.threads * tile.codes,
    groups: Math.ceil(rows / tile.rows),
    most: (rows + codes) * 4 * dimensions / (rows * gpu.threads * 8),
  });
  const partBytes = 8 * splits * gpu.threads;
  for (const range of tokenRanges(gpu, pass, partBytes)) {
    const partials = gpu.acquire(range.count * partBytes, "partial sums over the codes");
    for (const part of ranges) {
      const parts = Math.ceil(part.count / span) * gpu.threads;
      gpu.run(quantizerKernel("sumRows", tile), "sumRows", {
        buffers: { ...operands(pass, range, part), partials },
        params: passParams(pass, { rows: range.count, codes: part.count, span, stride: 0 }),
        workgroups: [parts / gpu.threads, Math.ceil(range.count / tile.rows)],
      });
      gpu.run(kernel, "mergeRowSums", {
        buffers: { partials, rowSums: sliceRows(rowSums, range, 8) },
        params: params({ rows: range.count, parts, accumulate: part.start === 0 ? 0 : 1 }),
        threads: range.count,
      });
    }
    gpu.release(partials);
  }
}

function differentiateLogits(
  gpu: Gpu,
  pass: Pass,
  chunk: { range: RowRange; part: RowRange; codes: RowRange; stride: number; dlogits: Slice },
): void {
  const { range, codes, stride, dlogits } = chunk;
  const { tile, entropy } = pass;
  gpu.run(quantizerKernel("logitGradients", tile), "logitGradients", {
    buffers: {
      ...operands(pass, range, codes),
      rowSums: sliceRows(pass.rowSums, range, 8),
      ...(entropy && { coefficients: entropy.coefficients }),
      dlogits,
    },
    params: passParams(pass, { rows: range.count, codes: codes.count, span: 0, stride }),
    workgroups: [
      Math.ceil(codes.count / (gpu.threads * tile.codes)),
      Math.ceil(range.count / tile.rows),
    ],
  });
}

/** Bindings of the backward passes for a range of tokens and one of codes. */
function operands(pass: Pass, range: RowRange, codes: RowRange): Record<string, Slice> {
  const rowBytes = 4 * pass.dimensions;
  return {
    z: sliceRows(pass.z, range, rowBytes),
    codebook: sliceRows(pass.codebook, codes, rowBytes),
    rowStatistics: sliceRows(pass.rowStatistics, range, 16),
    ...(pass.dzq && { dzq: sliceRows(pass.dzq, range, rowBytes) }),
    ...(pass.entropy && { codeWeights: sliceRows(pass.entropy.codeWeights, codes, 4) }),
  };
}

function passParams(
  pass: Pass,
  extents: { rows: number; codes: number; span: number; stride: number },
): Record<string, number> {
  return {
    ...extents,
    depth: pass.tile.vector ? pass.dimensions / 4 : pass.dimensions,
    firstCode: 0,
    inverseTemperature: 1 / (pass.entropyTemperature ?? 1),
  };
}

/**
 * Adds the gradients of chosen codes: row i of `gradients` to row `indices[i]` of `dcodebook`, rows of one code in order.
 *
 * @param gpu The device.
 * @param options `indices` (rows) as u32, `gradients` (rows, dimensions), and `dcodebook` (codes, dimensions), which is increased.
 */
export function addChosenGradients(
  gpu: Gpu,
  options: QuantizerSize & { indices: Slice; gradients: Slice; dcodebook: Slice },
): void {
  const { dimensions } = options;
  for (const range of tokenRanges(gpu, options, 0)) {
    const indices = sliceRows(options.indices, range, 4);
    const links = gpu.acquire(4 * range.count, "chains of tokens with the same code");
    gpu.run(kernel, "linkRows", {
      buffers: { indices, links },
      params: params({ rows: range.count }),
      threads: range.count,
    });
    for (const part of codeRanges(gpu, options)) {
      gpu.run(kernel, "addChosen", {
        buffers: {
          indices,
          chain: links,
          chosenGradients: sliceRows(options.gradients, range, 4 * dimensions),
          dcodebook: sliceRows(options.dcodebook, part, 4 * dimensions),
        },
        params: params({
          rows: range.count,
          codes: part.count,
          depth: dimensions,
          firstCode: part.start,
        }),
        threads: range.count * dimensions,
      });
    }
    gpu.release(links);
  }
}

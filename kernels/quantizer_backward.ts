/**
 * Launcher of the quantizer's backward: logits are computed again chunk by chunk, as flash attention does, so that memory stays of the
 * size of tokens and codes.
 *
 * @module
 */

import type { Gpu } from "./gpu.ts";
import { matmul } from "./matmul.ts";
import type { QuantizerTile } from "./quantizer_dots.ts";
import {
  chunkCodes,
  codeRanges,
  type QuantizerSize,
  quantizerTile,
  splitLoop,
  tokenRanges,
} from "./quantizer_plan.ts";
import { mergeRowSums } from "./quantizer_terms.ts";
import { quantizerKernel } from "./quantizer_tiles.ts";
import { type RowRange, type Slice, sliceRows } from "./slice.ts";

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
      mergeRowSums(gpu, {
        partials,
        rowSums: sliceRows(rowSums, range, 8),
        rows: range.count,
        parts,
        accumulate: part.start > 0,
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

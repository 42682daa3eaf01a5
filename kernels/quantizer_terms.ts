/** Launchers of quantizer_backward.wgsl: what the quantizer's backward does outside its passes over the codebook. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import source from "./quantizer_backward.wgsl" with { type: "text" };
import {
  bandQuads,
  codeRanges,
  type LogitPlan,
  type QuantizerSize,
  rowGroups,
  type RowShares,
  tokenRanges,
} from "./quantizer_plan.ts";
import shared from "./quantizer_shared.wgsl" with { type: "text" };
import { type Slice, sliceRows, splitRows, subslice } from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("quantizer_backward", common, special, shared, source);

interface BackwardParams {
  rows?: number;
  codes?: number;
  depth?: number;
  parts?: number;
  firstCode?: number;
  firstPart?: number;
  bands?: number;
  band?: number;
  quads?: number;
  stride?: number;
  span?: number;
  rowLanes?: number;
  alpha?: number;
  gamma?: number;
  sampleWeight?: number;
  averageWeight?: number;
  inverseTemperature?: number;
}

function params(given: BackwardParams): Required<BackwardParams> {
  return {
    rows: 0,
    codes: 0,
    depth: 0,
    parts: 0,
    firstCode: 0,
    firstPart: 0,
    bands: 0,
    band: 0,
    quads: 0,
    stride: 0,
    span: 0,
    rowLanes: 1,
    alpha: 0,
    gamma: 0,
    sampleWeight: 0,
    averageWeight: 0,
    inverseTemperature: 1,
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
  for (const range of splitRows(gpu, rows, { rowBytes: [4], operation: "a residual" })) {
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
 * `codeWeights` (codes, rounded up to a multiple of four).
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
    params: params({ codes, quads: Math.ceil(codes / 4) }),
    threads: 4 * Math.ceil(codes / 4),
  });
}

/** Operands of the passes over the logits of some tokens and a band of codes. */
export interface GradientPass {
  /** Tokens. */
  rows: number;
  /** How logits are laid out. */
  plan: LogitPlan;
  /** Number of the band. */
  band: number;
  /** How workgroups share a row. */
  shares: RowShares;
  /** 1 / T. */
  inverseTemperature: number;
  /** Logits, (rows, stride, 4). */
  logits: Slice;
  /** What is to be subtracted from them for differences from the largest of the row, (rows, bands). */
  bases: Slice;
  /** As the forward wrote it, (rows, 4). */
  rowStatistics: Slice;
  /** Products dzq·codebook, (rows, stride, 4); overwritten with the gradient by the logits. */
  dlogits: Slice;
  /** Whether there are such products. */
  straightThrough: boolean;
  /** Gradient of the entropies; weights of all codes. */
  entropy: { coefficients: Slice; codeWeights: Slice } | undefined;
}

function passConstants({ plan, entropy, straightThrough }: GradientPass): Record<string, number> {
  return {
    THREADS: plan.threads,
    ENTROPY: entropy ? 1 : 0,
    STRAIGHT_THROUGH: straightThrough ? 1 : 0,
  };
}

function passParams(pass: GradientPass): Required<BackwardParams> {
  const { rows, band, shares, inverseTemperature } = pass;
  const { bands, stride, rowLanes } = pass.plan;
  return params({
    rows,
    quads: bandQuads(bands[band]!),
    stride,
    span: shares.span,
    rowLanes,
    parts: bands.length * shares.parts,
    firstPart: band * shares.parts,
    bands: bands.length,
    band,
    inverseTemperature,
  });
}

/** Vectors that are read or written once: for profiles. */
function passBytes({ rows, plan, band }: GradientPass, times: number): number {
  return 16 * rows * bandQuads(plan.bands[band]!) * times;
}

/** The weights of a band's codes. Without entropies they are not read, but something must be bound. */
function bandWeights({ plan, band, entropy, rowStatistics }: GradientPass): Slice {
  const codes = plan.bands[band]!;
  return entropy
    ? subslice(entropy.codeWeights, 4 * codes.start, 16 * bandQuads(codes))
    : rowStatistics;
}

/**
 * Sums over the codes of a band what the gradients of both softmaxes subtract, by lane.
 *
 * @param gpu The device.
 * @param pass Operands.
 * @param partialSums Written: (rows, bands, lanes that share a row, 2).
 */
export function sumTerms(gpu: Gpu, pass: GradientPass, partialSums: Slice): void {
  const { logits, bases, rowStatistics, shares } = pass;
  gpu.run(kernel, "sumTerms", {
    buffers: {
      logits,
      bases,
      rowStatistics,
      weights: bandWeights(pass),
      products: pass.dlogits,
      partialSums,
    },
    params: passParams(pass),
    constants: passConstants(pass),
    workgroups: [shares.count, rowGroups(pass.plan, pass.rows)],
    work: { bytes: passBytes(pass, pass.straightThrough ? 2 : 1) },
  });
}

/**
 * Computes the gradients by the logits of a band.
 *
 * @param gpu The device.
 * @param pass Operands.
 * @param rowSums What {@linkcode sumTerms} summed, of whole rows: (rows, 2).
 */
export function differentiateLogits(gpu: Gpu, pass: GradientPass, rowSums: Slice): void {
  const { logits, bases, rowStatistics, entropy, shares, dlogits } = pass;
  gpu.run(kernel, "logitGradients", {
    buffers: {
      logits,
      bases,
      rowStatistics,
      weights: bandWeights(pass),
      dlogits,
      sumsOfRows: rowSums,
      factors: entropy?.coefficients ?? rowStatistics,
    },
    params: passParams(pass),
    constants: passConstants(pass),
    workgroups: [shares.count, rowGroups(pass.plan, pass.rows)],
    work: { bytes: passBytes(pass, pass.straightThrough ? 3 : 2) },
  });
}

/**
 * Adds the partial sums of the lanes that shared a row.
 *
 * @param gpu The device.
 * @param options `partials` (rows, parts, 2) and, written, `rowSums` (rows, 2).
 */
export function mergeRowSums(
  gpu: Gpu,
  options: { partials: Slice; rowSums: Slice; rows: number; parts: number },
): void {
  const { partials, rowSums, rows, parts } = options;
  gpu.run(kernel, "mergeRowSums", {
    buffers: { partials, rowSums },
    params: params({ rows, parts }),
    threads: rows,
  });
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
  const vector = 4 * dimensions;
  for (const range of tokenRanges(gpu, options.rows, { vector, scratch: [] })) {
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

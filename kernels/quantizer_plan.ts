/** How the quantizer's passes are divided: tiles by adapter, ranges by binding limit, splits by the number of workgroups. @module */

import type { Gpu } from "./gpu.ts";
import { MOST_ITERATIONS } from "./loop_limit.ts";
import { iterationsOf, type QuantizerTile } from "./quantizer_dots.ts";
import { type RowRange, splitRows } from "./slice.ts";

/** Extents of a quantization. */
export interface QuantizerSize {
  /** Tokens. */
  rows: number;
  /** Entries of the codebook. */
  codes: number;
  /** Numbers of a token and of a code. */
  dimensions: number;
}

/** What a pass computes besides the logits. */
export type QuantizerTerms = Pick<
  QuantizerTile,
  "entropy" | "sharp" | "straightThrough"
>;

/** Workgroups that keep an adapter busy. */
const SOFTWARE_WORKGROUPS = 16;
const GPU_WORKGROUPS = 1024;
/** Tokens times codes times dimensions from which larger tiles pay on a software adapter. */
const LARGE_PRODUCTS = 2 ** 28;
const HUGE_PRODUCTS = 2 ** 33;

/**
 * Chooses the register tile of a pass.
 *
 * @param gpu The device.
 * @param size Extents.
 * @param terms What the pass computes.
 * @returns The tile.
 */
export function quantizerTile(gpu: Gpu, size: QuantizerSize, terms: QuantizerTerms): QuantizerTile {
  const { rows, codes, dimensions } = size;
  const tile = gpu.adapter.software
    ? softwareTile(rows * codes * dimensions, terms.straightThrough)
    : { rows: 8, codes: terms.straightThrough ? 2 : 4 };
  while (tile.codes > 2 && tile.codes * gpu.threads > codes) tile.codes /= 2;
  if (rows < tile.rows) tile.rows = 4;
  return { ...terms, ...tile, vector: dimensions % 4 === 0 };
}

/** Large tiles load less for each product and take seconds to compile, so that only large products are worth them. */
function softwareTile(products: number, straightThrough: boolean): { rows: number; codes: number } {
  if (products < LARGE_PRODUCTS) return { rows: 8, codes: 8 };
  return { rows: 16, codes: straightThrough && products < HUGE_PRODUCTS ? 8 : 16 };
}

/**
 * Divides the steps of a loop among workgroups: into as many parts as keep the adapter busy, and no longer than a loop may be.
 *
 * @param gpu The device.
 * @param tile The tile of the pass.
 * @param work `dimensions`; `count`: what is looped over; `step`: how much of it an iteration takes; `groups`: workgroups that exist
 * anyway; `most`: parts that scratch memory allows, kept where the length of the loop permits.
 * @returns Number of parts, and how much of the loop each takes.
 */
export function splitLoop(
  gpu: Gpu,
  tile: QuantizerTile,
  work: { dimensions: number; count: number; step: number; groups: number; most: number },
): { splits: number; span: number } {
  const { dimensions, count, step, groups, most } = work;
  const wanted = gpu.adapter.software ? SOFTWARE_WORKGROUPS : GPU_WORKGROUPS;
  const steps = Math.max(1, Math.ceil(count / step));
  const longest = Math.max(1, Math.floor(MOST_ITERATIONS / iterationsOf(tile, dimensions)));
  const splits = Math.max(
    Math.ceil(steps / longest),
    Math.min(steps, Math.ceil(wanted / groups), Math.floor(most)),
  );
  const span = Math.ceil(steps / Math.max(1, splits)) * step;
  return { splits: Math.max(1, Math.ceil(count / span)), span };
}

/**
 * Splits the codebook so that a range of codes fits one binding.
 *
 * @param gpu The device.
 * @param size Extents.
 * @returns The ranges.
 */
export function codeRanges(gpu: Gpu, size: QuantizerSize): RowRange[] {
  return splitRows(gpu, size.codes, {
    rowBytes: [4 * size.dimensions, 4, 8],
    operation: "the codebook",
  });
}

/**
 * Splits the tokens so that a range of tokens fits one binding, with scratch of `scratchBytes` a token, and a loop over it is short.
 *
 * @param gpu The device.
 * @param size Extents.
 * @param scratchBytes Bytes of scratch a token; the scratch starts anew with each range.
 * @returns The ranges.
 */
export function tokenRanges(gpu: Gpu, size: QuantizerSize, scratchBytes: number): RowRange[] {
  const rowBytes = [4 * size.dimensions, 16, 8, 4];
  const most = Math.min(
    MOST_ITERATIONS / 2,
    Math.floor(gpu.maxBindingBytes / Math.max(scratchBytes, 1)),
  );
  return splitRows(
    {
      maxBindingBytes: Math.min(gpu.maxBindingBytes, most * Math.max(...rowBytes)),
      offsetAlignment: gpu.offsetAlignment,
    },
    size.rows,
    { rowBytes, operation: "the tokens of a quantizer" },
  );
}

/** Numbers of a chunk of logit gradients, at most: enough work for a dispatch, little enough for a CPU's cache. */
const SOFTWARE_CHUNK = 2 ** 20;
const GPU_CHUNK = 2 ** 23;

/**
 * Chooses how many codes the backward holds logit gradients of at a time.
 *
 * @param gpu The device.
 * @param size Extents; the chunk is at most four times tokens and codes together, but for a minimum of one step.
 * @param chunk `rows`: tokens of the chunk; `step`: codes that a workgroup computes at a time.
 * @returns A multiple of `step`.
 */
export function chunkCodes(
  gpu: Gpu,
  size: QuantizerSize,
  chunk: { rows: number; step: number },
): number {
  const elements = Math.min(
    gpu.adapter.software ? SOFTWARE_CHUNK : GPU_CHUNK,
    4 * (size.rows + size.codes) * size.dimensions,
    gpu.maxBindingBytes / 4,
  );
  return Math.max(1, Math.floor(elements / (chunk.rows * chunk.step))) * chunk.step;
}

/** How the quantizer's work is divided: tokens into blocks by a budget of bytes, codes into bands, rows by binding limits and into shares. @module */

import type { Gpu } from "./gpu.ts";
import { MOST_ITERATIONS } from "./loop_limit.ts";
import { type RowRange, type Slice, splitRows, subslice } from "./slice.ts";

/** Extents of a quantization. */
export interface QuantizerSize {
  /** Tokens. */
  rows: number;
  /** Entries of the codebook. */
  codes: number;
  /** Numbers of a token and of a code. */
  dimensions: number;
}

/** Bytes of logits of a block of tokens, at most: 256 tokens of 262,144 codes, with room. */
export const LOGIT_BYTES = 320 * 2 ** 20;

/** Blocks' worth of logits that are kept for the backward, at most. */
const KEPT_BLOCKS = 2;

/** Codes of a band, at most: a software adapter's cache holds the logits of a block of tokens; a GPU wants large dispatches. */
const SOFTWARE_BAND = 4096;
const GPU_BAND = 131072;

/** How lanes divide the rows of a band. */
export interface LogitLanes {
  /** Lanes of a workgroup of the passes over the logits. */
  threads: number;
  /**
   * Neighboring lanes that share a row: all on a GPU, whose lanes load neighbors together; one on a software adapter, where each lane
   * walks memory of its own, which a processor fetches ahead.
   */
  rowLanes: number;
}

/** How the logits of a quantization are laid out and divided: for each block of tokens and each band of codes, a matrix of its own. */
export interface LogitPlan extends LogitLanes {
  /** Codes whose logits are neighbors in memory: equally many in all bands but the last. */
  bands: readonly RowRange[];
  /** Vectors of four from one row of a band to the next, in all bands. */
  stride: number;
  /** Tokens whose logits are in memory together. */
  blocks: readonly RowRange[];
  /** How many blocks, from the first on, keep their logits for the backward; those of the others are computed again. */
  kept: number;
}

/** Rows that begin at multiples of this many vectors compete for the same lines of a cache. */
const CACHE_QUADS = 64;
const PADDING_QUADS = 8;
/** Loops over the rows of a block are no longer. */
const MOST_ROWS = MOST_ITERATIONS / 2;

/**
 * Divides the codes into bands, and the tokens into blocks of equal size, whose logits are in memory together.
 *
 * @param gpu The device.
 * @param size Extents.
 * @param byteBudget Bytes of a block's logits, at most, and half of those that are kept; but a block has at least as many tokens as
 * aligned bindings need.
 * @param lanes Lanes of a workgroup, and codes of a band at most; tests try others than the adapter's own.
 * @returns The plan.
 */
export function logitPlan(
  gpu: Gpu,
  size: QuantizerSize,
  byteBudget: number,
  lanes: Partial<LogitLanes> & { bandCodes?: number } = {},
): LogitPlan {
  const { software } = gpu.adapter;
  const { threads = gpu.threads, bandCodes = software ? SOFTWARE_BAND : GPU_BAND } = lanes;
  const { rowLanes = software ? 1 : threads } = lanes;
  // So many rows of any number of words begin at an aligned offset.
  const step = gpu.offsetAlignment / 4;
  const bands = bandsOf(gpu, size, { bandCodes, step });
  const stride = strideOf(bands, gpu.offsetAlignment / 16);
  const most = Math.min(MOST_ROWS, byteBudget / (16 * stride * bands.length));
  const equal = size.rows / Math.ceil(size.rows / Math.max(1, most));
  const count = Math.max(1, Math.ceil(equal / step)) * step;
  const blocks: RowRange[] = [];
  for (let start = 0; start < size.rows; start += count) {
    blocks.push({ start, count: Math.min(count, size.rows - start) });
  }
  let kept = 0;
  let bytes = 0;
  for (const block of blocks) {
    bytes += logitBytes({ bands, stride }, block.count);
    if (bytes > KEPT_BLOCKS * byteBudget) break;
    kept++;
  }
  return { threads, rowLanes, bands, stride, blocks, kept };
}

/** Bands of equal size but for the last, multiples of `step` codes, none larger than a binding. */
function bandsOf(
  gpu: Gpu,
  size: QuantizerSize,
  { bandCodes, step }: { bandCodes: number; step: number },
): RowRange[] {
  const { codes } = size;
  const most = Math.min(bandCodes, codeRanges(gpu, size)[0]!.count);
  const each = Math.ceil(codes / Math.ceil(codes / most) / step) * step;
  return Array.from({ length: Math.ceil(codes / each) }, (_, band) => ({
    start: band * each,
    count: Math.min(each, codes - band * each),
  }));
}

/** With several bands, all begin at aligned offsets, which are multiples of `step` vectors. */
function strideOf(bands: readonly RowRange[], step: number): number {
  const quads = bandQuads(bands[0]!);
  const stride = bands.length > 1 ? Math.ceil(quads / step) * step : quads;
  return stride + (stride % CACHE_QUADS === 0 ? Math.max(step, PADDING_QUADS) : 0);
}

/**
 * Counts the vectors of four that hold a row of a band.
 *
 * @param band Codes of the band.
 * @returns Their number.
 */
export function bandQuads(band: RowRange): number {
  return Math.ceil(band.count / 4);
}

/**
 * Counts the bytes of the logits of some tokens.
 *
 * @param plan Layout of the logits.
 * @param rows Tokens.
 * @returns Bytes of all bands.
 */
export function logitBytes(
  { bands, stride }: Pick<LogitPlan, "bands" | "stride">,
  rows: number,
): number {
  return 16 * stride * rows * bands.length;
}

/**
 * Takes the logits of some tokens of a block and of a band of codes.
 *
 * @param plan Layout of the logits.
 * @param block `rows`: tokens of the block; `logits`: of all bands, (bands, rows, 4 stride).
 * @param band Number of the band.
 * @param tokens Which tokens of the block. Default: all.
 * @returns Shape (tokens.count, 4 stride).
 */
export function bandLogits(
  { stride }: LogitPlan,
  block: { rows: number; logits: Slice },
  band: number,
  tokens: RowRange = { start: 0, count: block.rows },
): Slice {
  const row = band * block.rows + tokens.start;
  return subslice(block.logits, 16 * stride * row, 16 * stride * tokens.count);
}

/**
 * Counts the matrix products of tokens, codes and dimensions that a quantization takes.
 *
 * @param plan The plan.
 * @returns Of the forward: the logits. Of the backward with all gradients: the straight-through gradient of each code, both operands'
 * gradients, and the logits that were not kept.
 */
export function quantizerProducts(plan: LogitPlan): { forward: number; backward: number } {
  const rows = (blocks: readonly RowRange[]): number =>
    blocks.reduce((sum, { count }) => sum + count, 0);
  return { forward: 1, backward: 4 - rows(plan.blocks.slice(0, plan.kept)) / rows(plan.blocks) };
}

/**
 * Splits the codebook so that a range of codes fits one binding.
 *
 * @param gpu The device.
 * @param size Extents.
 * @returns The ranges; they begin at multiples of four.
 */
export function codeRanges(gpu: Gpu, size: QuantizerSize): RowRange[] {
  return splitRows(gpu, size.codes, {
    rowBytes: [4 * size.dimensions, 4],
    multiple: 4,
    operation: "the codebook",
  });
}

/**
 * Splits tokens so that a range of them fits one binding.
 *
 * @param gpu The device.
 * @param rows Tokens.
 * @param bytes `vector`: bytes of a token; `scratch`: of what a pass holds a token besides.
 * @returns The ranges.
 */
export function tokenRanges(
  gpu: Gpu,
  rows: number,
  bytes: { vector: number; scratch: readonly number[] },
): RowRange[] {
  const rowBytes = [bytes.vector, 16, 8, 4, ...bytes.scratch];
  return splitRows(gpu, rows, { rowBytes, operation: "the tokens of a quantizer" });
}

/** How the vectors of a row, or the rows of a block, are divided among workgroups. */
export interface Shares {
  /** Workgroups that share. */
  count: number;
  /** What each takes; the last one may take less. */
  span: number;
}

/** Workgroups that keep an adapter busy. */
const SOFTWARE_WORKGROUPS = 16;
const GPU_WORKGROUPS = 1024;
/** A lane adds up at most this many terms in a chain: longer chains lose digits. */
const LONGEST_CHAIN = 256;
/** Vectors of four of a row that a lane takes at a time. */
const QUADS_A_STEP = 4;
/** Rows after which a lane that sums over rows may hand over to another. */
export const ROWS_A_STEP = 8;

/**
 * Divides a loop among workgroups: into as many parts as keep the adapter busy, none with long chains of additions.
 *
 * @param gpu The device.
 * @param work `count`: what is looped over; `step`: how much of it an iteration takes; `groups`: workgroups that exist anyway.
 * @returns The shares.
 */
export function sharesOf(
  gpu: Gpu,
  work: { count: number; step: number; groups: number },
): Shares {
  const { count, step, groups } = work;
  const wanted = gpu.adapter.software ? SOFTWARE_WORKGROUPS : GPU_WORKGROUPS;
  const steps = Math.ceil(count / step);
  const shares = Math.max(steps / LONGEST_CHAIN, Math.min(steps, wanted / groups), 1);
  const span = Math.ceil(steps / Math.ceil(shares)) * step;
  return { count: Math.ceil(count / span), span };
}

/** How the rows of a band are divided. */
export interface RowShares extends Shares {
  /** Parts of a row of a band: lanes that share it. */
  parts: number;
}

/**
 * Divides the vectors of the rows of a band.
 *
 * @param gpu The device.
 * @param rows Rows.
 * @param plan Bands and lanes.
 * @returns The shares.
 */
export function rowShares(
  gpu: Gpu,
  rows: number,
  { bands, threads, rowLanes }: Pick<LogitPlan, "bands" | "threads" | "rowLanes">,
): RowShares {
  const groups = rowGroups({ threads, rowLanes }, rows);
  const step = QUADS_A_STEP * rowLanes;
  const { count, span } = sharesOf(gpu, { count: bandQuads(bands[0]!), step, groups });
  return { count, span, parts: count * rowLanes };
}

/**
 * Counts the workgroups that take a share of all rows of a band.
 *
 * @param lanes How lanes divide them.
 * @param rows Rows.
 * @returns Workgroups of different rows.
 */
export function rowGroups({ threads, rowLanes }: LogitLanes, rows: number): number {
  return Math.ceil(rows * rowLanes / threads);
}

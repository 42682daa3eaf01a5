/** How the quantizer's work is divided: tokens into blocks by a budget of bytes, rows and codes by binding limits, rows into shares. @module */

import type { Gpu } from "./gpu.ts";
import { MOST_ITERATIONS } from "./loop_limit.ts";
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

/** Bytes of logits of a block of tokens, at most: 256 tokens of 262,144 codes, with room. */
export const LOGIT_BYTES = 320 * 2 ** 20;

/** Blocks' worth of logits that are kept for the backward, at most. */
const KEPT_BLOCKS = 2;

/** How the logits of a quantization are laid out and divided. */
export interface LogitPlan {
  /** Lanes of a workgroup of the passes over the logits. */
  threads: number;
  /** Vectors of four logits that hold a row. */
  quads: number;
  /** Vectors of four from one row to the next. */
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
 * Divides the tokens into blocks of equal size, whose logits are computed together.
 *
 * @param gpu The device.
 * @param size Extents.
 * @param byteBudget Bytes of a block's logits, at most, and half of those that are kept; but a block has at least as many tokens as
 * aligned bindings need.
 * @param threads Lanes of a workgroup; tests try others than the adapter's own.
 * @returns The plan.
 */
export function logitPlan(
  gpu: Gpu,
  size: QuantizerSize,
  byteBudget: number,
  threads: number = gpu.threads,
): LogitPlan {
  const quads = Math.ceil(size.codes / 4);
  const stride = quads + (quads % CACHE_QUADS === 0 ? PADDING_QUADS : 0);
  const { offsetAlignment } = gpu;
  const step = offsetAlignment / 4;
  const most = Math.min(MOST_ROWS, byteBudget / (16 * stride));
  const equal = size.rows / Math.ceil(size.rows / Math.max(1, most));
  const count = Math.max(1, Math.ceil(equal / step)) * step;
  const blocks: RowRange[] = [];
  for (let start = 0; start < size.rows; start += count) {
    blocks.push({ start, count: Math.min(count, size.rows - start) });
  }
  let kept = 0;
  let bytes = 0;
  for (const block of blocks) {
    bytes += 16 * stride * block.count;
    if (bytes > KEPT_BLOCKS * byteBudget) break;
    kept++;
  }
  return { threads, quads, stride, blocks, kept };
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
/** Rows that a lane takes at a time where it sums over rows. */
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

/**
 * Divides the vectors of rows.
 *
 * @param gpu The device.
 * @param rows Rows.
 * @param work `quads`: vectors of a row; `threads`: lanes of a workgroup.
 * @returns The shares.
 */
export function rowShares(
  gpu: Gpu,
  rows: number,
  { quads, threads }: { quads: number; threads: number },
): Shares {
  return sharesOf(gpu, { count: quads, step: QUADS_A_STEP * threads, groups: rows });
}

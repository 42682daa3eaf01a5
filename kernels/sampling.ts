/** Launchers of sampling.wgsl: guidance, top-k and top-p filtering, and the draw of one token a row, all on the GPU. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { lanesFor, type RowLanesOptions } from "./lanes.ts";
import lanes from "./lanes.wgsl" with { type: "text" };
import philox from "./philox.wgsl" with { type: "text" };
import source from "./sampling.wgsl" with { type: "text" };
import { type Slice, sliceRows, splitRows } from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("sampling", common, special, philox, lanes, source);

/** Rows of logits. */
export interface LogitRows {
  /** Rows. */
  rows: number;
  /** Columns: the vocabulary. */
  columns: number;
}

/** What of a distribution is kept. */
export interface Filter {
  /** Keep the `topK` greatest logits and what equals the least of them; 0 keeps all. */
  topK: number;
  /** Keep the most probable tokens up to the first that carries their probability past `topP`; 1 keeps all. */
  topP: number;
}

/** Options of {@linkcode guideLogits}. */
export interface GuideOptions extends LogitRows {
  /** (rows, copies, columns): logits with the class and, where `copies` is 2, without. */
  logits: Slice;
  /** 1 without guidance, 2 with. */
  copies: number;
  /** Factor of the difference between the two. */
  guidance: number;
  /** Divides the result. */
  temperature: number;
  /** (rows, columns): result. */
  guided: Slice;
}

/**
 * `(without + (with - without) guidance) / temperature`, row by row.
 *
 * @param gpu The device.
 * @param options Logits, factors and the result.
 */
export function guideLogits(gpu: Gpu, options: GuideOptions): void {
  const { logits, guided, rows, columns, copies, guidance, temperature } = options;
  const rowBytes = [4 * copies * columns, 4 * columns];
  for (const range of splitRows(gpu, rows, { rowBytes, operation: "sampling.guide" })) {
    gpu.run(kernel, "guide", {
      buffers: {
        logits: sliceRows(logits, range, rowBytes[0]!),
        guided: sliceRows(guided, range, rowBytes[1]!),
      },
      params: {
        rows: range.count,
        columns,
        copies,
        guidance,
        temperature,
        top_k: 0,
        top_p: 1,
        position: 0,
        steps: 0,
      },
      threads: range.count * columns,
    });
  }
}

/** A search for a threshold walks over the row for every two bits of a key. */
const SEARCH_WALKS = 16;
/** Walks for the maximum, the ties, the mass and the token. */
const DRAW_WALKS = 4;
/** Elements of a short partial sum, as in sampling.wgsl; a walk takes an iteration for each besides those for its elements. */
const CHUNK = 128;

function rowLanes(
  operation: string,
  options: LogitRows & Filter & { lanes?: number },
): RowLanesOptions {
  const { columns, topK, topP, lanes } = options;
  const walks = DRAW_WALKS + (topK > 0 && topK < columns ? SEARCH_WALKS : 0) +
    (topP < 1 ? SEARCH_WALKS + 2 : 0);
  return { iterations: walks * (1 + 1 / CHUNK) * columns, operation, lanes };
}

/** Options of {@linkcode filterLogits}. */
export interface FilterOptions extends LogitRows, Filter {
  /** (rows, columns). */
  scores: Slice;
  /** (rows, columns): result. */
  filtered: Slice;
  /** Invocations that share a row, a power of two; default by adapter. */
  lanes?: number;
}

/**
 * Copies what a filter keeps and writes minus infinity elsewhere.
 *
 * @param gpu The device.
 * @param options Scores, filter and the result.
 */
export function filterLogits(gpu: Gpu, options: FilterOptions): void {
  const { scores, filtered, rows, columns, topK, topP } = options;
  const rowBytes = 4 * columns;
  for (
    const range of splitRows(gpu, rows, { rowBytes: [rowBytes], operation: "sampling.filter" })
  ) {
    gpu.run(kernel, "filter_row", {
      buffers: {
        scores: sliceRows(scores, range, rowBytes),
        filtered: sliceRows(filtered, range, rowBytes),
      },
      params: {
        rows: range.count,
        columns,
        copies: 1,
        guidance: 1,
        temperature: 1,
        top_k: topK,
        top_p: topP,
        position: 0,
        steps: 0,
      },
      ...lanesFor(gpu, range.count, rowLanes("sampling.filter", options)),
    });
  }
}

/** Options of {@linkcode drawTokens}. */
export interface DrawOptions extends LogitRows, Filter {
  /** (rows, columns). */
  scores: Slice;
  /** (rows, 2) u32: low and high word of each row's seed. */
  seeds: Slice;
  /** Column of `tokens` that is written, and the counter of the random numbers. */
  position: number;
  /** Columns of `tokens`. */
  steps: number;
  /** (rows, steps) u32: the drawn token goes to column `position`. */
  tokens: Slice;
  /** How often the token is repeated in `next`. */
  copies: number;
  /** (rows, copies) u32: the drawn token. */
  next: Slice;
  /** Invocations that share a row, a power of two; default by adapter. */
  lanes?: number;
}

/**
 * Draws one token a row from the distribution that a filter keeps. The random number depends on the row's seed and on the position
 * only. With `topP` 0 it is the first of the greatest.
 *
 * @param gpu The device.
 * @param options Scores, filter, seeds and results.
 */
export function drawTokens(gpu: Gpu, options: DrawOptions): void {
  const { scores, seeds, tokens, next, rows, columns, copies, steps, position } = options;
  const bytes = { scores: 4 * columns, seeds: 8, tokens: 4 * steps, next: 4 * copies };
  const ranges = splitRows(gpu, rows, {
    rowBytes: Object.values(bytes),
    operation: "sampling.draw",
  });
  for (const range of ranges) {
    gpu.run(kernel, "draw", {
      buffers: {
        scores: sliceRows(scores, range, bytes.scores),
        seeds: sliceRows(seeds, range, bytes.seeds),
        tokens: sliceRows(tokens, range, bytes.tokens),
        next: sliceRows(next, range, bytes.next),
      },
      params: {
        rows: range.count,
        columns,
        copies,
        guidance: 1,
        temperature: 1,
        top_k: options.topK,
        top_p: options.topP,
        position,
        steps,
      },
      ...lanesFor(gpu, range.count, rowLanes("sampling.draw", options)),
    });
  }
}

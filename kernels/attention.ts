/** Launchers of attention.wgsl and the products around it: softmax(q·kᵀ·scale)·v over heads of strided arrays. @module */

import source from "./attention.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { lanesFor } from "./lanes.ts";
import lanes from "./lanes.wgsl" with { type: "text" };
import { matmul, type MatrixOperand } from "./matmul.ts";
import { type Slice, sliceRows, splitRows } from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("attention", common, special, lanes, source);

/** Sizes of an attention. */
export interface AttentionSizes {
  /** Images. */
  batch: number;
  /** Queries an image. */
  queries: number;
  /** Keys and values that are read of each image. */
  keys: number;
  /** Query heads. */
  heads: number;
  /** Key and value heads; divides `heads`. */
  kvHeads: number;
  /** Elements a head. */
  headDim: number;
}

/** Heads in memory: (batch, tokens, heads, headDim), of which the first tokens may be all that is used. */
export interface HeadsArray {
  /** The elements. */
  slice: Slice;
  /** Tokens an image has room for. */
  tokens: number;
}

/** Which keys a query sees. */
export interface MaskOptions {
  /** Whether query i sees the keys 0 … i + `diagonal` only. */
  causal: boolean;
  /** Keys before the one at the first query's own position. Default 0. */
  diagonal?: number;
  /** Invocations that share a row, a power of two; default by adapter. */
  lanes?: number;
}

/** The three kinds of product between heads and rows of scores. */
export type HeadProduct = "scores" | "rows" | "columns";

/**
 * Multiplies heads for each image and head: `scores = alpha x·yᵀ`, `rows: x = alpha scores·y`, or `columns: y = alpha scoresᵀ·x`, with
 * x of the queries' side, y of the keys' side. Several query heads share a key head: what goes to the keys' side is their sum.
 *
 * @param gpu The device.
 * @param product What is computed.
 * @param options `x`: (batch, queries, heads, headDim); `y`: (batch, keys, kvHeads, headDim); `scores`: (batch, heads, queries, keys);
 * `alpha`: factor, default 1; sizes.
 */
export function multiplyHeads(
  gpu: Gpu,
  product: HeadProduct,
  options: AttentionSizes & { x: HeadsArray; y: HeadsArray; scores: Slice; alpha?: number },
): void {
  const { batch, queries, keys, heads, kvHeads, headDim, scores, alpha = 1 } = options;
  const group = heads / kvHeads;
  for (let member = 0; member < group; member++) {
    const x: MatrixOperand = {
      slice: options.x.slice,
      offset: member * headDim,
      rowStride: heads * headDim,
      batchStrides: [options.x.tokens * heads * headDim, group * headDim],
    };
    const y: MatrixOperand = {
      slice: options.y.slice,
      rowStride: kvHeads * headDim,
      batchStrides: [options.y.tokens * kvHeads * headDim, headDim],
    };
    const s: MatrixOperand = {
      slice: scores,
      offset: member * queries * keys,
      rowStride: keys,
      batchStrides: [heads * queries * keys, group * queries * keys],
    };
    const shared = { alpha, batch: [batch, kvHeads] } as const;
    if (product === "scores") {
      matmul(gpu, {
        ...shared,
        a: x,
        b: y,
        c: s,
        rows: queries,
        columns: keys,
        inner: headDim,
        transposeB: true,
      });
    } else if (product === "rows") {
      matmul(gpu, { ...shared, a: s, b: y, c: x, rows: queries, columns: headDim, inner: keys });
    } else {
      matmul(gpu, {
        ...shared,
        a: s,
        b: x,
        c: y,
        rows: keys,
        columns: headDim,
        inner: queries,
        transposeA: true,
        accumulate: member > 0,
      });
    }
  }
}

/**
 * Turns scores into probabilities in place: a softmax over the keys that each query sees, 0 for the others.
 *
 * @param gpu The device.
 * @param options `scores`: (batch, heads, queries, keys); sizes and mask.
 */
export function softmaxScores(
  gpu: Gpu,
  options: AttentionSizes & MaskOptions & { scores: Slice },
): void {
  launch(gpu, "softmax", { scores: options.scores }, options);
}

/**
 * Turns the gradient of the probabilities into that of the scores.
 *
 * @param gpu The device.
 * @param options `probabilities`, their `gradients` and `dscores`, the result: (batch, heads, queries, keys); sizes and mask.
 */
export function softmaxScoresBackward(
  gpu: Gpu,
  options: AttentionSizes & MaskOptions & Record<"probabilities" | "gradients" | "dscores", Slice>,
): void {
  const { probabilities, gradients, dscores } = options;
  launch(gpu, "softmax_backward", { probabilities, gradients, dscores }, options);
}

/** How often a row is walked over, and a little for the loop over its chunks. */
const WALKS = 3.1;

function launch(
  gpu: Gpu,
  entryPoint: string,
  buffers: Record<string, Slice>,
  options: AttentionSizes & MaskOptions,
): void {
  const { batch, heads, queries, keys, causal, diagonal = 0 } = options;
  const ranges = splitRows(gpu, batch * heads * queries, {
    rowBytes: [4 * keys],
    operation: `attention.${entryPoint}`,
  });
  for (const range of ranges) {
    gpu.run(kernel, entryPoint, {
      buffers: Object.fromEntries(
        Object.entries(buffers).map(([name, slice]) => [name, sliceRows(slice, range, 4 * keys)]),
      ),
      params: {
        rows: range.count,
        first_row: range.start,
        queries,
        keys,
        causal: causal ? 1 : 0,
        diagonal,
      },
      ...lanesFor(gpu, range.count, {
        iterations: WALKS * keys,
        operation: `attention.${entryPoint}`,
        lanes: options.lanes,
      }),
    });
  }
}

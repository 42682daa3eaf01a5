/** What both forms of attention share: sizes, masks, dropout, and products between heads and rows of scores. @module */

import { matmul, type MatrixOperand } from "./matmul.ts";
import type { Gpu } from "./gpu.ts";
import type { PhiloxKey } from "./random.ts";
import type { Slice } from "./slice.ts";

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

/** Dropout of the probabilities. */
export interface AttentionDropout {
  /** Share that becomes 0, in (0, 1]. What is kept is divided by 1 minus it. */
  probability: number;
  /** Key of the decisions; backward decides the same again. */
  key: PhiloxKey;
}

/** What an attention does beside its sizes. */
export interface AttentionRule {
  /** Factor of the products of queries and keys. */
  scale: number;
  /** Whether query i sees the keys 0 … i + `diagonal` only. */
  causal: boolean;
  /** Keys before the one at the first query's own position. */
  diagonal: number;
  /** Dropout, if any. */
  dropout?: AttentionDropout | undefined;
}

/** What the forward pass reads and writes. */
export interface AttentionBuffers {
  /** (batch, queries, heads, headDim). */
  query: HeadsArray;
  /** (batch, tokens, kvHeads, headDim). */
  key: HeadsArray;
  /** (batch, tokens, kvHeads, headDim). */
  value: HeadsArray;
  /** The output, as `query`. */
  y: HeadsArray;
  /** (batch, heads, queries), f32: logarithms of the sums of exponentials of each row of scores. */
  logSums: Slice;
}

/** What the backward pass reads beside that, and writes; the gradients are those of all tokens' first `keys`. */
export interface AttentionGradients {
  /** Gradient of the output. */
  dy: HeadsArray;
  /** (batch, heads, queries), f32: sum of each output times its gradient. */
  dots: Slice;
  /** Gradient of `query`. */
  dquery: HeadsArray;
  /** Gradient of `key`, as long as it. */
  dkey: HeadsArray;
  /** Gradient of `value`, as long as it. */
  dvalue: HeadsArray;
}

/**
 * Parameters of the mask and of dropout, as all kernels of attention name them.
 *
 * @param rule The rule.
 * @returns Fields of `Params`.
 */
export function ruleParams({ causal, diagonal, dropout }: AttentionRule): Record<string, number> {
  const { probability, key } = dropout ??
    { probability: 0, key: { seed: 0, step: 0, stream: 0 } };
  return {
    causal: causal ? 1 : 0,
    diagonal,
    probability,
    factor: probability < 1 ? 1 / (1 - probability) : 0,
    ...key,
  };
}

/** Which images and queries a block of scores holds. */
export interface ScoreBlock {
  /** First image. */
  firstImage: number;
  /** Images. */
  images: number;
  /** First query. */
  firstQuery: number;
  /** Queries an image. */
  queries: number;
  /** Keys, the first: all that these queries see. */
  keys: number;
}

/** The three kinds of product between heads and rows of scores. */
type HeadProduct = "scores" | "rows" | "columns";

/**
 * Multiplies heads for each image and head of a block: `scores = alpha x·yᵀ`, `rows: x = alpha scores·y`, or
 * `columns: y = alpha scoresᵀ·x`, with x of the queries' side, y of the keys' side. Several query heads share a key head: what goes to
 * the keys' side is their sum.
 *
 * @param gpu The device.
 * @param product What is computed.
 * @param options Sizes; `block`: what `scores` (images, heads, queries, keys) holds; `x`: (batch, queries, heads, headDim);
 * `y`: (batch, keys, kvHeads, headDim); `alpha`: factor, default 1; `accumulate`: `columns` are added to what y holds.
 */
export function multiplyHeads(
  gpu: Gpu,
  product: HeadProduct,
  options: AttentionSizes & {
    block: ScoreBlock;
    x: HeadsArray;
    y: HeadsArray;
    scores: Slice;
    alpha?: number;
    accumulate?: boolean;
  },
): void {
  const { block, heads, kvHeads, headDim, scores, alpha = 1, accumulate = false } = options;
  const { firstImage, images, firstQuery, queries, keys } = block;
  const group = heads / kvHeads;
  const xWidth = heads * headDim;
  const yWidth = kvHeads * headDim;
  for (let member = 0; member < group; member++) {
    const x: MatrixOperand = {
      slice: options.x.slice,
      offset: (firstImage * options.x.tokens + firstQuery) * xWidth + member * headDim,
      rowStride: xWidth,
      batchStrides: [options.x.tokens * xWidth, group * headDim],
    };
    const y: MatrixOperand = {
      slice: options.y.slice,
      offset: firstImage * options.y.tokens * yWidth,
      rowStride: yWidth,
      batchStrides: [options.y.tokens * yWidth, headDim],
    };
    const s: MatrixOperand = {
      slice: scores,
      offset: member * queries * keys,
      rowStride: keys,
      batchStrides: [heads * queries * keys, group * queries * keys],
    };
    const shared = { alpha, batch: [images, kvHeads] } as const;
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
        accumulate: accumulate || member > 0,
      });
    }
  }
}

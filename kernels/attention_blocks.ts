/** Attention by matrix products over blocks of rows of scores, within a budget of memory. @module */

import {
  type AttentionBuffers,
  type AttentionGradients,
  type AttentionRule,
  type AttentionSizes,
  type HeadsArray,
  multiplyHeads,
  ruleParams,
  type ScoreBlock,
} from "./attention_heads.ts";
import source from "./attention.wgsl" with { type: "text" };
import { cast } from "./cast.ts";
import type { Gpu } from "./gpu.ts";
import { lanesFor } from "./lanes.ts";
import lanes from "./lanes.wgsl" with { type: "text" };
import { definePackedKernel, packFor } from "./pack.ts";
import philox from "./philox.wgsl" with { type: "text" };
import rowExponentials from "./row_exponentials.wgsl" with { type: "text" };
import { elementCount, type Slice, sliceRows, splitRows } from "./slice.ts";
import { splitLength } from "./slice_elements.ts";

const kernels = definePackedKernel(
  "attention",
  `${philox}\n${lanes}\n${rowExponentials}\n${source}`,
);

/** How the rows of scores are divided. */
export interface BlockPlan {
  /** Bytes that the scores of a block may take; at least one query of one image always does. Default 16 MiB. */
  scoreBytes?: number | undefined;
  /** Invocations that share a row of scores, a power of two; default by adapter. */
  lanes?: number | undefined;
}

type Attention = AttentionSizes & AttentionRule & BlockPlan;

const SCORE_BYTES = 2 ** 24;
/** Blocks of part of an image hold multiples of so many queries, where they hold that many: rows of the tiles of matrix products. */
const QUERY_MULTIPLE = 32;
/**
 * Blocks that the queries of a causal attention are divided into, so that the first ones need not look at the last keys. A GPU computes
 * more than it needs to sooner than it starts more dispatches.
 */
const CAUSAL_BLOCKS = { software: 4, gpu: 1 };
/** How often a row is walked over, and a little for the loop over its groups of keys. */
const WALKS = 2.1;

/** Divides the rows of scores: many images where they fit the budget, else some queries of an image. */
function blocksOf(gpu: Gpu, options: Attention): ScoreBlock[] {
  const { batch, queries, heads, scoreBytes = SCORE_BYTES, causal, diagonal } = options;
  const queryBytes = 4 * heads * options.keys;
  const affordable = Math.floor(Math.min(scoreBytes, gpu.maxBindingBytes) / queryBytes);
  const blocks = causal ? CAUSAL_BLOCKS[gpu.adapter.software ? "software" : "gpu"] : 1;
  const wanted = blocks > 1
    ? Math.ceil(queries / blocks / QUERY_MULTIPLE) * QUERY_MULTIPLE
    : queries;
  const most = Math.max(1, Math.min(wanted, queries, affordable));
  const whole = most < QUERY_MULTIPLE || most === queries ? most : most - most % QUERY_MULTIPLE;
  const images = whole < Math.min(wanted, queries)
    ? 1
    : Math.max(1, Math.floor(affordable / whole));
  return splitLength(batch, images).flatMap((range) =>
    splitLength(queries, whole).map(({ start, count }) => {
      // Rows of whole vectors of four, where there are as many keys.
      const seen = causal ? 4 * Math.ceil((start + count + diagonal) / 4) : options.keys;
      return {
        firstImage: range.start,
        images: range.count,
        firstQuery: start,
        queries: count,
        keys: Math.min(options.keys, seen),
      };
    }).reverse() // The last queries see the most keys.
  );
}

/** Runs an entry point over the rows of a block. */
function runRows(
  gpu: Gpu,
  entryPoint: "probabilities" | "score_gradients",
  options: Attention & { block: ScoreBlock },
  buffers: { rows: Record<string, Slice>; whole: Record<string, Slice> },
): void {
  const { block, heads, queries } = options;
  const { kernel, packs } = packFor(kernels, block.keys);
  const rowBytes = 4 * block.keys;
  const operation = `attention.${entryPoint}`;
  const rows = block.images * heads * block.queries;
  for (const range of splitRows(gpu, rows, { rowBytes: [rowBytes], operation })) {
    const lanes = lanesFor(gpu, range.count, {
      iterations: WALKS * packs,
      operation,
      lanes: options.lanes,
    });
    gpu.run(kernel, entryPoint, {
      buffers: {
        ...buffers.whole,
        ...Object.fromEntries(
          Object.entries(buffers.rows).map(([name, slice]) => [
            name,
            sliceRows(slice, range, rowBytes),
          ]),
        ),
      },
      params: {
        rows: range.count,
        first_row: range.start,
        first_head: block.firstImage * heads,
        first_query: block.firstQuery,
        block_queries: block.queries,
        queries,
        keys: options.keys,
        block_keys: block.keys,
        packs,
        ...ruleParams(options),
      },
      ...(entryPoint === "probabilities" ? lanes : { threads: range.count * packs }),
    });
  }
}

/** Bytes of the scores of a block. */
function bytesOf({ images, queries, keys }: ScoreBlock, heads: number): number {
  return 4 * images * heads * queries * keys;
}

function largestOf(blocks: readonly ScoreBlock[], heads: number): number {
  return Math.max(...blocks.map((block) => bytesOf(block, heads)));
}

/**
 * Computes the output of an attention and the logarithms of the sums that its softmax divided by.
 *
 * @param gpu The device.
 * @param buffers What is read and written.
 * @param options Sizes, rule, and division.
 */
export function attendInBlocks(gpu: Gpu, buffers: AttentionBuffers, options: Attention): void {
  const { query, key, value, y, logSums } = buffers;
  const blocks = blocksOf(gpu, options);
  const scratch = gpu.acquire(largestOf(blocks, options.heads), "scores of an attention");
  for (const block of blocks) {
    const scores = { ...scratch, bytes: bytesOf(block, options.heads) };
    const shared = { ...options, block, scores };
    multiplyHeads(gpu, "scores", { ...shared, x: query, y: key, alpha: options.scale });
    runRows(gpu, "probabilities", shared, { rows: { scores }, whole: { newLogSums: logSums } });
    multiplyHeads(gpu, "rows", { ...shared, x: y, y: value });
  }
  gpu.release(scratch);
}

/**
 * Computes the gradients of an attention from its output, computing the scores again. Gradients of keys that no query sees are not
 * written.
 *
 * @param gpu The device.
 * @param buffers What is read and written.
 * @param options Sizes, rule, and division.
 */
export function attendInBlocksBackward(
  gpu: Gpu,
  buffers: Omit<AttentionBuffers, "y"> & AttentionGradients,
  options: Attention,
): void {
  const { query, key, value, logSums, dy, dots, dquery } = buffers;
  const blocks = blocksOf(gpu, options);
  const bytes = largestOf(blocks, options.heads);
  const scratch = gpu.acquire(bytes, "scores of an attention");
  const gradientScratch = gpu.acquire(bytes, "gradients of the scores of an attention");
  // Sums over blocks and heads are not rounded on the way.
  const dkey = sumsFor(gpu, buffers.dkey);
  const dvalue = sumsFor(gpu, buffers.dvalue);
  for (const block of blocks) {
    const scores = { ...scratch, bytes: bytesOf(block, options.heads) };
    const gradients = { ...gradientScratch, bytes: scores.bytes };
    const shared = { ...options, block };
    const { scale: alpha } = options;
    const accumulate = block.firstQuery + block.queries < options.queries;
    multiplyHeads(gpu, "scores", { ...shared, scores, x: query, y: key, alpha });
    multiplyHeads(gpu, "scores", { ...shared, scores: gradients, x: dy, y: value });
    runRows(gpu, "score_gradients", shared, {
      rows: { scores, gradients },
      whole: { logSums, dots },
    });
    multiplyHeads(gpu, "columns", { ...shared, scores, x: dy, y: dvalue, accumulate });
    multiplyHeads(gpu, "rows", { ...shared, scores: gradients, x: dquery, y: key, alpha });
    multiplyHeads(gpu, "columns", {
      ...shared,
      scores: gradients,
      x: query,
      y: dkey,
      alpha,
      accumulate,
    });
  }
  for (const [sums, target] of [[dkey, buffers.dkey], [dvalue, buffers.dvalue]] as const) {
    if (sums === target) continue;
    cast(gpu, { x: sums.slice, y: target.slice });
    gpu.release(sums.slice);
  }
  gpu.release(gradientScratch);
  gpu.release(scratch);
}

/** Where sums that end in `target` are kept: there, or in 32 bits. Tokens that no query sees become 0. */
function sumsFor(gpu: Gpu, target: HeadsArray): HeadsArray {
  if (!target.slice.half) return target;
  const slice = gpu.acquire(4 * elementCount(target.slice), "gradients of keys or values");
  gpu.clear(slice);
  return { ...target, slice };
}

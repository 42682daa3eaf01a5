/** Attention: softmax(q·kᵀ·scale)·v over heads of strided arrays, and its gradients, in the form that suits the adapter. @module */

import { attendInBlocks, attendInBlocksBackward, type BlockPlan } from "./attention_blocks.ts";
import dotsSource from "./attention_dots.wgsl" with { type: "text" };
import type {
  AttentionBuffers,
  AttentionGradients,
  AttentionRule,
  AttentionSizes,
} from "./attention_heads.ts";
import { attendInTiles, attendInTilesBackward, LARGEST_TILED_HEAD } from "./attention_tiles.ts";
import type { Gpu } from "./gpu.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import { elementBytes, sliceRows, splitRows } from "./slice.ts";

export type { BlockPlan } from "./attention_blocks.ts";
export type {
  AttentionBuffers,
  AttentionDropout,
  AttentionGradients,
  AttentionRule,
  AttentionSizes,
  HeadsArray,
} from "./attention_heads.ts";

const dotsKernels = definePackedKernel("attention_dots", dotsSource);

/** How an attention runs. */
export interface AttentionPlan extends BlockPlan {
  /**
   * `blocks`: matrix products over blocks of rows of scores, within a budget of memory; `tiles`: one kernel with its scores in
   * registers. Default: `blocks` on a software adapter, for few queries, for heads that `tiles` does not take, and for gradients of heads
   * of which an invocation cannot hold all that it needs.
   */
  form?: "blocks" | "tiles" | undefined;
}

/** Sizes, rule and plan of an attention. */
export type AttentionSettings = AttentionSizes & AttentionRule & AttentionPlan;

/** Fewer queries leave most lanes of a tile idle. */
const FEWEST_TILED_QUERIES = 16;
/** Gradients of larger heads take four arrays of more registers than a GPU gives an invocation. */
const LARGEST_TILED_GRADIENT = 32;

function formOf(
  gpu: Gpu,
  options: AttentionSettings,
  { types, largest }: { types: Set<boolean>; largest: number },
): "blocks" | "tiles" {
  const { form, queries, headDim } = options;
  const possible = headDim % 4 === 0 && headDim <= LARGEST_TILED_HEAD && types.size === 1;
  if (form === "tiles" && !possible) {
    throw new RangeError(
      `Cannot run attention in tiles: expected heads of one type and of a multiple of 4 elements, at most ${LARGEST_TILED_HEAD}, found ${headDim}`,
    );
  }
  const pays = !gpu.adapter.software && queries >= FEWEST_TILED_QUERIES && headDim <= largest;
  return form ?? (possible && pays ? "tiles" : "blocks");
}

/**
 * Computes the output of an attention and, for the backward pass, the logarithms of the sums that its softmax divided by. No array of
 * queries by keys of all heads is made but within the budget of the plan.
 *
 * @param gpu The device.
 * @param buffers What is read and written.
 * @param options Sizes, rule and plan.
 * @throws {RangeError} If the wanted form does not take the heads.
 */
export function attentionForward(
  gpu: Gpu,
  buffers: AttentionBuffers,
  options: AttentionSettings,
): void {
  const { query, key, value } = buffers;
  const types = new Set([query, key, value].map(({ slice }) => slice.half ?? false));
  const form = formOf(gpu, options, { types, largest: LARGEST_TILED_HEAD });
  const attend = form === "tiles" ? attendInTiles : attendInBlocks;
  attend(gpu, buffers, options);
}

/**
 * Computes the gradients of an attention. The scores are computed again. Deterministic.
 *
 * @param gpu The device.
 * @param buffers What forward read and wrote, the gradient of its output, and the gradients, which are written. Those of tokens that
 * no query sees become 0.
 * @param options Sizes, rule and plan, as forward.
 */
export function attentionBackward(
  gpu: Gpu,
  buffers: AttentionBuffers & Omit<AttentionGradients, "dots">,
  options: AttentionSettings,
): void {
  const { batch, queries, keys, heads, causal, diagonal } = options;
  const { query, key, value, y, dy, dkey, dvalue } = buffers;
  const seen = causal ? Math.min(keys, queries + diagonal) : keys;
  const dots = gpu.acquire(4 * batch * queries * heads, "products of outputs and gradients");
  outputDots(gpu, { y: y.slice, dy: dy.slice, dots }, options);
  if (seen < dkey.tokens) { for (const { slice } of [dkey, dvalue]) gpu.clear(slice); }
  const types = new Set([query, key, value].map(({ slice }) => slice.half ?? false));
  const form = formOf(gpu, options, { types, largest: LARGEST_TILED_GRADIENT });
  const attend = form === "tiles" ? attendInTilesBackward : attendInBlocksBackward;
  attend(gpu, { ...buffers, dots }, options);
  gpu.release(dots);
}

/** Sums of the outputs times their gradients, a number a query and head. */
function outputDots(
  gpu: Gpu,
  buffers: Record<"y" | "dy" | "dots", AttentionBuffers["logSums"]>,
  { batch, queries, heads, headDim }: AttentionSizes,
): void {
  const { y, dy, dots } = buffers;
  const { kernel, packs } = packFor(dotsKernels, headDim);
  const bytes = elementBytes(y) * headDim;
  const operation = "attention_dots.output_dots";
  for (const range of splitRows(gpu, batch * queries * heads, { rowBytes: [bytes], operation })) {
    gpu.run(kernel, "output_dots", {
      buffers: { y: sliceRows(y, range, bytes), dy: sliceRows(dy, range, bytes), dots },
      params: { rows: range.count, first_row: range.start, queries, heads, packs },
      threads: range.count,
    });
  }
}

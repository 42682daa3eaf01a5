/** Launchers of flash_attention.wgsl: attention that keeps its scores in registers and workgroup memory. @module */

import {
  type AttentionBuffers,
  type AttentionGradients,
  type AttentionRule,
  type AttentionSizes,
  ruleParams,
} from "./attention_heads.ts";
import common from "./common.wgsl" with { type: "text" };
import source from "./flash_attention.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel, type Kernel } from "./kernel.ts";
import { requireIterations } from "./loop_limit.ts";
import { range } from "./matmul_form.ts";
import philox from "./philox.wgsl" with { type: "text" };
import { elementBytes, type RowRange, type Slice, sliceRows, splitRows } from "./slice.ts";
import { splitLength } from "./slice_elements.ts";
import special from "./special.wgsl" with { type: "text" };

/** The largest head that has its accumulators in registers. */
export const LARGEST_TILED_HEAD = 128;
/** Vectors of four that both tiles of a workgroup hold together, within WebGPU's default limit of 16 KiB. */
const TILE_VECTORS = 1024;
const LONGEST_TILE = 32;

type Attention = AttentionSizes & AttentionRule;

const kernels = new Map<number, Kernel>();
// The usual size, so that tools which look through all kernels find one.
kernelOf(64);

/** Makes the kernel of a head size, once. */
function kernelOf(headDim: number): Kernel {
  let kernel = kernels.get(headDim);
  if (!kernel) {
    const vectors = headDim / 4;
    const rows = Math.min(LONGEST_TILE, Math.floor(TILE_VECTORS / 2 / vectors));
    const sizes = `const HEAD = ${vectors}u;\nconst TILE = ${rows - rows % 4}u;`;
    const text = withoutLoops(source, vectors);
    kernel = defineKernel("flash_attention", common, special, philox, sizes, text);
    kernels.set(headDim, kernel);
  }
  return kernel;
}

/** Writes out the loops over the vectors of a head. */
function withoutLoops(text: string, vectors: number): string {
  return text.replace(
    /for \(var c = 0u; c < HEAD; c\+\+\) \{([^{}]*)\}/g,
    (_, body: string) => range(vectors).map((c) => body.replace(/\bc\b/g, `${c}u`)).join(""),
  );
}

/** Runs an entry point, an invocation for each of `count` queries or keys of each of `heads` heads. */
function launch(
  gpu: Gpu,
  entryPoint: "forward" | "query_gradients" | "key_gradients",
  options: Attention & { tokens: { query: number; key: number }; count: number; ownHeads: number },
  buffers: {
    /** Slices that are split by images; `query`, `key`: which side they lie on. */
    images: Record<string, { slice: Slice; side: "query" | "key" }>;
    whole: Record<string, Slice>;
  },
): void {
  const { batch, queries, keys, heads, kvHeads, headDim, scale, tokens, count, ownHeads } = options;
  const operation = `flash_attention.${entryPoint}`;
  // Every step of the walk loops over the vectors of a head, up to four times.
  requireIterations(gpu, operation, Math.max(queries * heads / kvHeads, keys) * headDim);
  const widths = { query: heads * headDim, key: kvHeads * headDim };
  const bytesOf = (slice: Slice, side: "query" | "key"): number =>
    elementBytes(slice) * tokens[side] * widths[side];
  const rowBytes = Object.values(buffers.images).map(({ slice, side }) => bytesOf(slice, side));
  const most = Math.floor(gpu.limits.maxComputeWorkgroupsPerDimension / ownHeads);
  const ranges: RowRange[] = splitRows(gpu, batch, { rowBytes, operation }).flatMap((range) =>
    splitLength(range.count, most).map(({ start, count }) => ({
      start: range.start + start,
      count,
    }))
  );
  for (const range of ranges) {
    gpu.run(kernelOf(headDim), entryPoint, {
      buffers: {
        ...buffers.whole,
        ...Object.fromEntries(
          Object.entries(buffers.images).map(([name, { slice, side }]) => [
            name,
            sliceRows(slice, range, bytesOf(slice, side)),
          ]),
        ),
      },
      params: {
        queries,
        keys,
        heads,
        group: heads / kvHeads,
        first_head: range.start * heads,
        query_image: tokens.query * widths.query / 4,
        query_row: widths.query / 4,
        key_image: tokens.key * widths.key / 4,
        key_row: widths.key / 4,
        scale,
        ...ruleParams(options),
      },
      workgroups: [Math.ceil(count / gpu.threads), range.count * ownHeads],
    });
  }
}

/**
 * Computes the output of an attention and the logarithms of the sums that its softmax divided by.
 *
 * @param gpu The device.
 * @param buffers What is read and written, all heads f32 or all f16.
 * @param options Sizes and rule; heads of a multiple of 4 elements, at most {@linkcode LARGEST_TILED_HEAD}.
 */
export function attendInTiles(gpu: Gpu, buffers: AttentionBuffers, options: Attention): void {
  const { query, key, value, y, logSums } = buffers;
  const { queries: count, heads: ownHeads } = options;
  const tokens = { query: query.tokens, key: key.tokens };
  launch(gpu, "forward", { ...options, tokens, count, ownHeads }, {
    images: {
      q: { slice: query.slice, side: "query" },
      k: { slice: key.slice, side: "key" },
      v: { slice: value.slice, side: "key" },
      y: { slice: y.slice, side: "query" },
    },
    whole: { newLogSums: logSums },
  });
}

/**
 * Computes the gradients of an attention from its output, computing the scores again.
 *
 * @param gpu The device.
 * @param buffers What is read and written, all heads f32 or all f16.
 * @param options Sizes and rule, as forward.
 */
export function attendInTilesBackward(
  gpu: Gpu,
  buffers: Omit<AttentionBuffers, "y"> & AttentionGradients,
  options: Attention,
): void {
  const { query, key, value, logSums, dy, dots, dquery, dkey, dvalue } = buffers;
  const tokens = { query: query.tokens, key: key.tokens };
  const read = {
    q: { slice: query.slice, side: "query" },
    k: { slice: key.slice, side: "key" },
    v: { slice: value.slice, side: "key" },
    dy: { slice: dy.slice, side: "query" },
  } as const;
  const whole = { logSums, dots };
  launch(
    gpu,
    "query_gradients",
    { ...options, tokens, count: options.queries, ownHeads: options.heads },
    { images: { ...read, dq: { slice: dquery.slice, side: "query" } }, whole },
  );
  launch(
    gpu,
    "key_gradients",
    { ...options, tokens, count: options.keys, ownHeads: options.kvHeads },
    {
      images: {
        ...read,
        dk: { slice: dkey.slice, side: "key" },
        dv: { slice: dvalue.slice, side: "key" },
      },
      whole,
    },
  );
}

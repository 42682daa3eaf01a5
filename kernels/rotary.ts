/** Launchers of rotary.wgsl: heads turned by their position, alone or while fused rows are cut into heads or joined again. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import source from "./rotary.wgsl" with { type: "text" };
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("rotary", common, source);

/** How heads turn. */
export interface Rotation {
  /** (position, headDim / 2, [cosine, sine]), f32. */
  table: Slice;
  /** Position of the first token in the table. */
  firstPosition: number;
  /** 1 turns forward, -1 back. */
  direction: 1 | -1;
}

/** Where the heads of a (batch, tokens, heads, headDim) view are within a larger array. Counts of elements, all multiples of 4. */
export interface HeadsView {
  /** The whole array. */
  slice: Slice;
  /** Elements from one image to the next. */
  batchStride: number;
  /** Elements from one token to the next. */
  tokenStride: number;
  /** First element of the first head. */
  offset: number;
}

/** Sizes of rows of heads. */
export interface HeadRows {
  /** Images. */
  batch: number;
  /** Tokens an image. */
  tokens: number;
  /** Elements a head; a multiple of 4. */
  headDim: number;
}

/** A fused projection (batch, tokens, [query | key | value]) and its parts. */
export interface FusedHeads extends HeadRows {
  /** The rows of the projection. */
  rows: Slice;
  /** Query heads. */
  heads: number;
  /** Key and value heads. */
  kvHeads: number;
  /** The heads of queries, keys and values. */
  parts: readonly [query: HeadsView, key: HeadsView, value: HeadsView];
  /** How queries and keys turn. */
  rotation: Rotation;
}

const NO_VIEW = { batchStride: 0, tokenStride: 0, offset: 0 };

function viewParams(name: string, view: Omit<HeadsView, "slice">): Record<string, number> {
  return {
    [`${name}_batch_stride`]: view.batchStride / 4,
    [`${name}_token_stride`]: view.tokenStride / 4,
    [`${name}_offset`]: view.offset / 4,
  };
}

/**
 * Turns the interleaved pairs of heads by the angle of their position.
 *
 * @param gpu The device.
 * @param options `x`, `y`: (batch, tokens, heads, headDim), f32 or f16; sizes and rotation.
 */
export function turnHeads(
  gpu: Gpu,
  options: HeadRows & { x: Slice; y: Slice; heads: number; rotation: Rotation },
): void {
  const { x, y, batch, tokens, heads, headDim, rotation } = options;
  const rowPacks = heads * headDim / 4;
  const imageBytes = elementBytes(x) * tokens * heads * headDim;
  const ranges = splitRows(gpu, batch, { rowBytes: [imageBytes], operation: "rotary.turn" });
  for (const range of ranges) {
    const packs = range.count * tokens * rowPacks;
    gpu.run(kernel, "turn", {
      buffers: {
        rows: sliceRows(x, range, imageBytes),
        table: rotation.table,
        query: sliceRows(y, range, imageBytes),
      },
      params: {
        packs,
        tokens,
        row_packs: rowPacks,
        queries_end: rowPacks,
        keys_end: rowPacks,
        packs_per_head: headDim / 4,
        first_position: rotation.firstPosition,
        ...viewParams("query", NO_VIEW),
        ...viewParams("key", NO_VIEW),
        ...viewParams("value", NO_VIEW),
        direction: rotation.direction,
      },
      threads: packs,
    });
  }
}

/**
 * Cuts the rows of a fused projection into heads; queries and keys turn on the way.
 *
 * @param gpu The device.
 * @param options Rows, which are read, parts, which are written, sizes and rotation; all f32 or all f16.
 */
export function splitFusedHeads(gpu: Gpu, options: FusedHeads): void {
  launch(gpu, "split", options, ["rows", "query", "key", "value"]);
}

/**
 * Joins heads to the rows of a fused projection; queries and keys turn on the way.
 *
 * @param gpu The device.
 * @param options Rows, which are written, parts, which are read, sizes and rotation; all f32 or all f16.
 */
export function joinFusedHeads(gpu: Gpu, options: FusedHeads): void {
  launch(gpu, "join", options, ["joined", "queryPart", "keyPart", "valuePart"]);
}

function launch(
  gpu: Gpu,
  entryPoint: "split" | "join",
  options: FusedHeads,
  names: readonly [rows: string, query: string, key: string, value: string],
): void {
  const { batch, tokens, headDim, rows, heads, kvHeads, parts, rotation } = options;
  const rowPacks = (heads + 2 * kvHeads) * headDim / 4;
  const bytes = elementBytes(rows);
  const images = [rows, ...parts.map(({ slice }) => slice)].map((slice, i) => ({
    slice,
    bytes: bytes * (i === 0 ? 4 * tokens * rowPacks : parts[i - 1]!.batchStride),
  }));
  const ranges = splitRows(gpu, batch, {
    rowBytes: images.map((image) => image.bytes),
    operation: `rotary.${entryPoint}`,
  });
  for (const range of ranges) {
    const packs = range.count * tokens * rowPacks;
    const [query, key, value] = parts;
    gpu.run(kernel, entryPoint, {
      buffers: {
        table: rotation.table,
        ...Object.fromEntries(
          images.map((image, i) => [names[i]!, sliceRows(image.slice, range, image.bytes)]),
        ),
      },
      params: {
        packs,
        tokens,
        row_packs: rowPacks,
        queries_end: heads * headDim / 4,
        keys_end: (heads + kvHeads) * headDim / 4,
        packs_per_head: headDim / 4,
        first_position: rotation.firstPosition,
        ...viewParams("query", query),
        ...viewParams("key", key),
        ...viewParams("value", value),
        direction: rotation.direction,
      },
      threads: packs,
    });
  }
}

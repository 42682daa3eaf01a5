/** Launcher of rotary.wgsl: copies heads between arrays of other strides and turns them by their position. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import source from "./rotary.wgsl" with { type: "text" };
import { type Slice, sliceRows, splitRows } from "./slice.ts";

const kernel = defineKernel("rotary", common, source);

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

/** Options of {@linkcode copyHeads}. */
export interface CopyHeadsOptions {
  /** Where the heads are read. */
  source: HeadsView;
  /** Where they are written; every element of the view is. */
  target: HeadsView;
  /** Images. */
  batch: number;
  /** Tokens an image. */
  tokens: number;
  /** Heads a token. */
  heads: number;
  /** Elements a head; a multiple of 4. */
  headDim: number;
  /**
   * How the heads turn: a table of (position, pair, [cosine, sine]), the position of the first token, and 1 to turn forward or -1
   * to turn back. Default: they are only copied.
   */
  rotation?: { table: Slice; firstPosition: number; direction: 1 | -1 };
}

/**
 * Copies heads from one view into another and, with `rotation`, turns their interleaved pairs by the angle of their position.
 *
 * @param gpu The device.
 * @param options Views, sizes and rotation. The views must not overlap.
 */
export function copyHeads(gpu: Gpu, options: CopyHeadsOptions): void {
  const { source, target, batch, tokens, heads, headDim, rotation } = options;
  const sourceBytes = 4 * source.batchStride;
  const targetBytes = 4 * target.batchStride;
  const ranges = splitRows(gpu, batch, {
    rowBytes: [sourceBytes, targetBytes],
    operation: "rotary.turn",
  });
  for (const range of ranges) {
    const packs = range.count * tokens * heads * headDim / 4;
    const from = sliceRows(source.slice, range, sourceBytes);
    gpu.run(kernel, "turn", {
      buffers: {
        source: from,
        // A plain copy reads no table, but the entry point names one.
        table: rotation?.table ?? from,
        result: sliceRows(target.slice, range, targetBytes),
      },
      params: {
        packs,
        tokens,
        heads,
        packs_per_head: headDim / 4,
        source_batch_stride: source.batchStride / 4,
        source_token_stride: source.tokenStride / 4,
        source_offset: source.offset / 4,
        target_batch_stride: target.batchStride / 4,
        target_token_stride: target.tokenStride / 4,
        target_offset: target.offset / 4,
        first_position: rotation?.firstPosition ?? 0,
        rotate: rotation ? 1 : 0,
        direction: rotation?.direction ?? 1,
      },
      threads: packs,
    });
  }
}

/** Launchers of group_norm.wgsl: statistics of groups of channels, normalization by them, and its gradients. @module */

import { chunkRows, chunkSums } from "./chunk_sums.ts";
import type { Gpu } from "./gpu.ts";
import source from "./group_norm.wgsl" with { type: "text" };
import { requireIterations } from "./loop_limit.ts";
import { definePackedKernel, packFor, runPacked } from "./pack.ts";
import { elementBytes, type RowRange, type Slice, sliceRows, splitRows } from "./slice.ts";
import { streamLimits } from "./texel_pool.ts";

/** Both (rows, packs). */
const INPUTS = { x: { binding: 1 }, dy: { binding: 2 } };
const kernel = definePackedKernel("group_norm", source, INPUTS, { streams: true });

/** Extents of a normalization. Batch normalization is the case of one image whose groups are single channels. */
export interface GroupNormSize {
  /** Images. */
  batch: number;
  /** Rows of an image: height times width. */
  positions: number;
  /** Elements of a row. */
  channels: number;
  /** Groups that the channels of an image are split into; divides `channels`. */
  groups: number;
  /** Added to the variance. */
  eps: number;
}

/** How an entry point walks: what is split into ranges, and over how many lanes. */
interface Walk {
  /** Units (rows, chunks or images) in all. */
  units: number;
  /** Operands split by units: bytes of one unit by name. */
  split: Readonly<Record<string, number>>;
  /** Lanes of a unit. */
  lanes: number;
}

/** Derived extents. */
interface Layout {
  /** Packs of a row. */
  packs: number;
  /** Rows of a chunk. */
  chunk: number;
  /** Chunks of an image. */
  chunks: number;
  /** Activations of a chunk, in bytes, as they are stored in a slice. */
  chunkBytes: (slice: Slice) => number;
  /** Two numbers for each channel. */
  pairBytes: number;
}

function layoutOf({ positions, channels }: GroupNormSize): Layout {
  const chunk = chunkRows(positions);
  return {
    packs: packFor(kernel, channels).packs,
    chunk,
    chunks: positions / chunk,
    chunkBytes: (slice) => elementBytes(slice) * chunk * channels,
    pairBytes: 8 * channels,
  };
}

function paramsOf(size: GroupNormSize, range: RowRange): Record<string, number> {
  const { channels, groups, positions, eps } = size;
  const { packs, chunk } = layoutOf(size);
  return { first: range.start, count: range.count, packs, channels, groups, positions, chunk, eps };
}

function run(
  gpu: Gpu,
  entryPoint: string,
  size: GroupNormSize,
  options: { buffers: Readonly<Record<string, Slice>>; walk: Walk; swish?: boolean },
): void {
  const { buffers, walk, swish = false } = options;
  const operation = `group_norm.${entryPoint}`;
  const { chunk, chunks } = layoutOf(size);
  requireIterations(gpu, operation, 2 * Math.max(chunk, chunks, size.channels / size.groups));
  for (
    const range of splitRows(streamLimits(gpu), walk.units, {
      rowBytes: Object.values(walk.split),
      operation,
    })
  ) {
    const parts: Record<string, Slice> = { ...buffers };
    for (const [name, bytes] of Object.entries(walk.split)) {
      parts[name] = sliceRows(buffers[name]!, range, bytes);
    }
    runPacked(gpu, kernel, size.channels, entryPoint, {
      buffers: parts,
      params: paramsOf(size, range),
      constants: { SWISH: swish ? 1 : 0 },
      threads: range.count * walk.lanes,
    });
  }
}

/**
 * Mean and sum of squared deviations of each channel of each image, in two passes.
 *
 * @param gpu The device.
 * @param buffers `x` (batch, positions, channels); `moments` (batch, 2, channels) is written.
 * @param size Extents; groups and eps are not used.
 */
export function channelMoments(
  gpu: Gpu,
  buffers: { x: Slice; moments: Slice },
  size: GroupNormSize,
): void {
  const { batch } = size;
  const { packs, chunks, chunkBytes, pairBytes } = layoutOf(size);
  const partial = gpu.acquire(batch * chunks * pairBytes, "group_norm scratch");
  run(gpu, "chunk_moments", size, {
    buffers: { x: buffers.x, partial },
    walk: {
      units: batch * chunks,
      split: { x: chunkBytes(buffers.x), partial: pairBytes },
      lanes: packs,
    },
  });
  run(gpu, "merge_moments", size, {
    buffers: { chunkMoments: partial, moments: buffers.moments },
    walk: {
      units: batch,
      split: { chunkMoments: chunks * pairBytes, moments: pairBytes },
      lanes: packs,
    },
  });
  gpu.release(partial);
}

/**
 * Mean and reciprocal standard deviation of each group, repeated for each of its channels.
 *
 * @param gpu The device.
 * @param buffers `moments` of {@linkcode channelMoments}; `statistics` (batch, 2, channels) is written.
 * @param size Extents.
 */
export function groupStatistics(
  gpu: Gpu,
  buffers: { moments: Slice; statistics: Slice },
  size: GroupNormSize,
): void {
  const { batch, channels } = size;
  const { pairBytes } = layoutOf(size);
  run(gpu, "group_statistics", size, {
    buffers: { channelValues: buffers.moments, groupValues: buffers.statistics },
    walk: {
      units: batch,
      split: { channelValues: pairBytes, groupValues: pairBytes },
      lanes: channels,
    },
  });
}

/**
 * `y = (x - mean) / std * weight + bias`, then swish where wanted.
 *
 * @param gpu The device.
 * @param buffers `x` and `y` (batch, positions, channels), `statistics` (batch, 2, channels), `weight` and `bias` (channels).
 * @param size Extents.
 * @param options `swish`: whether `u sigmoid(u)` of the result u is returned instead.
 */
export function normalize(
  gpu: Gpu,
  buffers: Record<"x" | "statistics" | "weight" | "bias" | "y", Slice>,
  size: GroupNormSize,
  options: { swish: boolean },
): void {
  const { packs, chunks, chunkBytes } = layoutOf(size);
  run(gpu, "normalize", size, {
    buffers,
    walk: {
      units: size.batch * chunks,
      split: { x: chunkBytes(buffers.x), y: chunkBytes(buffers.y) },
      lanes: packs,
    },
    ...options,
  });
}

/** What {@linkcode normalizeBackward} reads and writes. */
export interface NormalizeBackwardBuffers {
  /** Gradient of the result, (batch, positions, channels). */
  dy: Slice;
  /** Input of the forward pass, same shape. */
  x: Slice;
  /** As in the forward pass. */
  statistics: Slice;
  /** As in the forward pass. */
  weight: Slice;
  /** As in the forward pass. */
  bias: Slice;
  /** Written if given: gradient of x. */
  dx: Slice | undefined;
  /** Written if given: gradients of weight and bias, (channels) each. */
  affine: { dweight: Slice; dbias: Slice } | undefined;
}

/**
 * Gradients of {@linkcode normalize}.
 *
 * @param gpu The device.
 * @param buffers What is read, and what is wanted.
 * @param size Extents.
 * @param options `swish` as in the forward pass; `constantStatistics`: the statistics did not depend on x (running averages).
 */
export function normalizeBackward(
  gpu: Gpu,
  buffers: NormalizeBackwardBuffers,
  size: GroupNormSize,
  options: { swish: boolean; constantStatistics?: boolean },
): void {
  const { dy, x, statistics, weight, bias, dx, affine } = buffers;
  const { swish, constantStatistics = false } = options;
  const { batch, channels } = size;
  const { packs, chunks, chunkBytes, pairBytes } = layoutOf(size);
  const means = gpu.acquire(batch * pairBytes, "group_norm scratch");
  if (affine || !constantStatistics) {
    const partial = gpu.acquire(batch * chunks * pairBytes, "group_norm scratch");
    const sums = gpu.acquire(batch * pairBytes, "group_norm scratch");
    run(gpu, "chunk_gradients", size, {
      buffers: { dy, x, statistics, weight, bias, partial },
      walk: {
        units: batch * chunks,
        split: { dy: chunkBytes(dy), x: chunkBytes(x), partial: pairBytes },
        lanes: packs,
      },
      swish,
    });
    chunkSums(gpu, { partial, sums }, { batch, chunks, width: 2 * channels });
    if (affine) {
      requireIterations(gpu, "group_norm.affine_gradients", batch);
      runPacked(gpu, kernel, channels, "affine_gradients", {
        buffers: { channelValues: sums, ...affine },
        params: paramsOf(size, { start: 0, count: batch }),
        threads: channels,
      });
    }
    if (!constantStatistics) {
      run(gpu, "group_means", size, {
        buffers: { channelValues: sums, channelWeight: weight, groupValues: means },
        walk: {
          units: batch,
          split: { channelValues: pairBytes, groupValues: pairBytes },
          lanes: channels,
        },
      });
    }
    gpu.release(partial);
    gpu.release(sums);
  }
  if (dx) {
    if (constantStatistics) gpu.clear(means);
    run(gpu, "input_gradient", size, {
      buffers: { dy, x, statistics, weight, bias, means, y: dx },
      walk: {
        units: batch * chunks,
        split: { dy: chunkBytes(dy), x: chunkBytes(x), y: chunkBytes(dx) },
        lanes: packs,
      },
      swish,
    });
  }
  gpu.release(means);
}

/** Launchers of head_loss.wgsl: the mean cross-entropy of a projection whose logits are never all in memory. @module */

import { cast } from "./cast.ts";
import type { Gpu } from "./gpu.ts";
import source from "./head_loss.wgsl" with { type: "text" };
import { lanesFor } from "./lanes.ts";
import lanes from "./lanes.wgsl" with { type: "text" };
import { matmul } from "./matmul.ts";
import { definePackedKernel, packFor } from "./pack.ts";
import { reduce } from "./reduce.ts";
import rowExponentials from "./row_exponentials.wgsl" with { type: "text" };
import type { RowRange, Slice } from "./slice.ts";
import { splitLength } from "./slice_elements.ts";

const kernels = definePackedKernel("head_loss", `${lanes}\n${rowExponentials}\n${source}`);

/** Sizes of a projection and its loss. */
export interface HeadLossSize {
  /** Rows of x. */
  rows: number;
  /** Elements of a row of x. */
  channels: number;
  /** Rows of the weight: columns of the logits. */
  vocabulary: number;
  /** Bytes that the logits of a chunk may take. Default 32 MiB. */
  logitBytes?: number | undefined;
}

/** What both passes read. */
export interface HeadLossInputs {
  /** (rows, channels), f32 or f16. */
  x: Slice;
  /** (vocabulary, channels). */
  weight: Slice;
  /** (rows), u32. */
  targets: Slice;
  /** (rows, 4), f32: written by the forward pass, read by the backward pass. */
  states: Slice;
}

const LOGIT_BYTES = 2 ** 25;
/** Chunks begin at multiples of this many columns, and have at least as many. */
const COLUMN_MULTIPLE = 64;

/** Divides rows and columns so that the logits of a block of both fit the budget: all rows where possible. */
function blocksOf(gpu: Gpu, size: HeadLossSize): { rows: RowRange[]; columns: RowRange[] } {
  const { rows, vocabulary, logitBytes = LOGIT_BYTES } = size;
  const elements = Math.min(logitBytes, gpu.maxBindingBytes) / 4;
  const rowsAtOnce = Math.max(1, Math.min(rows, Math.floor(elements / COLUMN_MULTIPLE)));
  const columns = Math.floor(elements / rowsAtOnce / COLUMN_MULTIPLE) * COLUMN_MULTIPLE;
  return {
    rows: splitLength(rows, rowsAtOnce),
    columns: splitLength(vocabulary, Math.max(COLUMN_MULTIPLE, columns)),
  };
}

/** Computes the logits of a block. */
function project(
  gpu: Gpu,
  inputs: HeadLossInputs,
  logits: Slice,
  options: { size: HeadLossSize; rows: RowRange; columns: RowRange },
): void {
  const { size: { channels }, rows, columns } = options;
  matmul(gpu, {
    a: { slice: inputs.x, offset: rows.start * channels },
    b: { slice: inputs.weight, offset: columns.start * channels },
    c: { slice: logits },
    rows: rows.count,
    columns: columns.count,
    inner: channels,
    transposeB: true,
  });
}

function paramsOf(
  size: HeadLossSize,
  options: { rows: RowRange; columns: RowRange; packs: number; factor?: number },
): Record<string, number> {
  const { rows, columns, packs, factor = 1 } = options;
  return {
    rows: rows.count,
    first_row: rows.start,
    packs,
    columns: columns.count,
    first_column: columns.start,
    vocabulary: size.vocabulary,
    factor,
  };
}

/** Takes a buffer for the logits of any block, and gives it back. */
function withLogits(
  gpu: Gpu,
  size: HeadLossSize,
  body: (options: { rows: RowRange; columns: RowRange; logits: Slice }) => void,
): void {
  const blocks = blocksOf(gpu, size);
  const bytes = 4 * blocks.rows[0]!.count * blocks.columns[0]!.count;
  const scratch = gpu.acquire(bytes, "logits of a chunk of the vocabulary");
  for (const rows of blocks.rows) {
    for (const columns of blocks.columns) {
      body({ rows, columns, logits: { ...scratch, bytes: 4 * rows.count * columns.count } });
    }
  }
  gpu.release(scratch);
}

/**
 * Computes the mean cross-entropy of `x weightᵀ` with target columns, in nats; NaN where a target is no column.
 *
 * @param gpu The device.
 * @param inputs What is read, and `states`, which are written.
 * @param loss One element, f32; it is written.
 * @param size Sizes and budget.
 */
export function headLossForward(
  gpu: Gpu,
  inputs: HeadLossInputs,
  loss: Slice,
  size: HeadLossSize,
): void {
  const { targets, states } = inputs;
  withLogits(gpu, size, ({ rows, columns, logits }) => {
    project(gpu, inputs, logits, { size, rows, columns });
    const { kernel, packs } = packFor(kernels, columns.count);
    gpu.run(kernel, "add_chunk", {
      buffers: { logits, targets, states },
      params: paramsOf(size, { rows, columns, packs }),
      ...lanesFor(gpu, rows.count, { iterations: packs, operation: "head_loss.add_chunk" }),
    });
  });
  const all = { start: 0, count: size.rows };
  const losses = gpu.acquire(4 * size.rows, "losses of rows");
  gpu.run(kernels.scalar, "finish", {
    buffers: { finished: states, losses },
    params: paramsOf(size, { rows: all, columns: { start: 0, count: 0 }, packs: 0 }),
    threads: size.rows,
  });
  const factor = 1 / size.rows;
  reduce(gpu, "sum", { a: losses, y: loss, outer: 1, length: size.rows, inner: 1, factor });
  gpu.release(losses);
}

/**
 * Computes the gradients of {@linkcode headLossForward}; the logits are computed again.
 *
 * @param gpu The device.
 * @param inputs What forward read and wrote.
 * @param gradients `dy`: one element, f32; `dx`, in the type of x, and `dweight`, f32, are written where they are given.
 * @param size Sizes and budget, as forward.
 */
export function headLossBackward(
  gpu: Gpu,
  inputs: HeadLossInputs,
  gradients: { dy: Slice; dx: Slice | undefined; dweight: Slice | undefined },
  size: HeadLossSize,
): void {
  const { x, weight, targets, states } = inputs;
  const { dy, dx, dweight } = gradients;
  const { channels } = size;
  // Sums over chunks are not rounded on the way.
  const sums = dx?.half ? gpu.acquire(4 * size.rows * channels, "gradients of rows") : dx;
  withLogits(gpu, size, ({ rows, columns, logits }) => {
    project(gpu, inputs, logits, { size, rows, columns });
    const { kernel, packs } = packFor(kernels, columns.count);
    gpu.run(kernel, "logit_gradients", {
      buffers: { logits, targets, finished: states, dy },
      params: paramsOf(size, { rows, columns, packs, factor: 1 / size.rows }),
      threads: rows.count * packs,
    });
    if (sums) {
      matmul(gpu, {
        a: { slice: logits },
        b: { slice: weight, offset: columns.start * channels },
        c: { slice: sums, offset: rows.start * channels },
        rows: rows.count,
        columns: channels,
        inner: columns.count,
        accumulate: columns.start > 0,
      });
    }
    if (dweight) {
      matmul(gpu, {
        a: { slice: logits },
        b: { slice: x, offset: rows.start * channels },
        c: { slice: dweight, offset: columns.start * channels },
        rows: columns.count,
        columns: channels,
        inner: rows.count,
        transposeA: true,
        accumulate: rows.start > 0,
      });
    }
  });
  if (sums && dx && sums !== dx) {
    cast(gpu, { x: sums, y: dx });
    gpu.release(sums);
  }
}

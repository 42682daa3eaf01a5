/** Matrix products of any layout and size, batched. @module */

import type { Gpu } from "./gpu.ts";
import { type MatmulOptions, type MatrixOperand, multiply } from "./matmul_parts.ts";
import { shareCount, type Tile, tileColumns, tileRows } from "./matmul_tile.ts";
import { addShares } from "./matmul_shares.ts";
import { elementBytes, subslice } from "./slice.ts";

export type { MatmulOptions, MatrixOperand } from "./matmul_parts.ts";
export type { Tile } from "./matmul_tile.ts";

/** Shares begin at multiples of this along the sums, so that vectors of four stay whole. */
const SHARE_MULTIPLE = 64;
/** Partial sums take at most this much memory. */
const SHARES_BYTES = 2 ** 24;

/**
 * `C = alpha A B + bias + residual`, for each matrix of a batch.
 *
 * Operands are f32 or f16, each for itself (the bias is f32); sums are f32. Strides let operands be parts of larger tensors without a
 * copy: the heads of a tensor (batch, tokens, heads, headSize) are matrices of `tokens` rows with rowStride `heads headSize`,
 * batchStrides `[tokens heads headSize, headSize]` and batch `[batch, heads]`. Operands of any size work: what passes the adapter's
 * largest binding runs in parts.
 *
 * @param gpu The device.
 * @param options Operands and sizes.
 * @throws {RangeError} If an operand reaches past its slice, or `inner` is below 1.
 * @throws {GpuMemoryError} If parts cannot be made small enough to bind.
 */
export function matmul(gpu: Gpu, options: MatmulOptions): void {
  const { rows, columns, inner, c, bias, residual, accumulate = false } = options;
  const batch = (options.batch ?? [1, 1]).reduce((product, extent) => product * extent);
  if (rows * columns * batch === 0) return;
  if (!(inner >= 1)) {
    throw new RangeError(`Cannot multiply matrices: expected inner of at least 1, found ${inner}`);
  }
  const tile = options.tile ?? gpu.tiles.choose({
    kind: "matmul",
    shape: { rows, columns, inner, batch, bAlong: options.transposeB ? "inner" : "columns" },
    half: [isHalf(options.a), isHalf(options.b), isHalf(c)],
    transposed: [options.transposeA ?? false, options.transposeB ?? false],
  }, gpu.adapter);
  const workgroups = Math.ceil(rows / tileRows(tile)) * Math.ceil(columns / tileColumns(tile));
  const shares = Math.min(
    Math.ceil(inner / SHARE_MULTIPLE),
    shareCount(inner, workgroups * batch, gpu.adapter),
  );
  const plain = batch === 1 && (c.rowStride ?? columns) === columns && !bias && !residual &&
    !accumulate;
  const sumsBytes = 4 * shares * rows * columns;
  if (shares === 1 || !plain || sumsBytes > Math.min(SHARES_BYTES, gpu.maxBindingBytes)) {
    multiply(gpu, { ...options, tile });
  } else multiplyInShares(gpu, { ...options, tile }, shares);
}

function isHalf({ slice }: MatrixOperand): boolean {
  return slice.half ?? false;
}

/** Divides the sums into shares, as a batch of products, and adds these: always in the same order. */
function multiplyInShares(gpu: Gpu, options: MatmulOptions & { tile: Tile }, shares: number): void {
  const { a, b, c, rows, columns, inner, transposeA, transposeB, alpha = 1 } = options;
  const length = Math.ceil(inner / shares / SHARE_MULTIPLE) * SHARE_MULTIPLE;
  const whole = Math.floor(inner / length);
  const rest = inner - whole * length;
  const slots = whole + (rest > 0 ? 1 : 0);
  const size = rows * columns;
  const aRow = a.rowStride ?? (transposeA ? rows : inner);
  const bRow = b.rowStride ?? (transposeB ? inner : columns);
  const aShare = length * (transposeA ? aRow : 1);
  const bShare = length * (transposeB ? 1 : bRow);
  const sums = gpu.acquire(4 * slots * size, "partial sums of a matrix product");
  const multiplyShares = (first: number, count: number, length: number): void =>
    multiply(gpu, {
      ...options,
      a: {
        ...a,
        offset: (a.offset ?? 0) + first * aShare,
        rowStride: aRow,
        batchStrides: [aShare, 0],
      },
      b: {
        ...b,
        offset: (b.offset ?? 0) + first * bShare,
        rowStride: bRow,
        batchStrides: [bShare, 0],
      },
      c: { slice: sums, offset: first * size },
      inner: length,
      batch: [count, 1],
      alpha: 1,
    });
  if (whole > 0) multiplyShares(0, whole, length);
  if (rest > 0) multiplyShares(whole, 1, rest);
  const bytes = elementBytes(c.slice);
  const y = subslice(c.slice, bytes * (c.offset ?? 0), bytes * size);
  addShares(gpu, { sums, y, slots, factor: alpha });
  gpu.release(sums);
}

/** Launches products of strided matrices, in parts where an operand passes the adapter's largest binding. @module */

import { GpuMemoryError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import { MOST_ITERATIONS } from "./loop_limit.ts";
import { matmulAddressing } from "./matmul_addressing.ts";
import type { ProductForm } from "./matmul_form.ts";
import { productKernel } from "./matmul_source.ts";
import { bandColumns, type Tile, tileColumns, tileRows } from "./matmul_tile.ts";
import { inTexels } from "./matmul_texels.ts";
import { beginsVector, fits, type Window, windowOf } from "./matmul_window.ts";
import { elementBytes, type Slice } from "./slice.ts";
import { copyLimits } from "./texel_pool.ts";

/**
 * A matrix, or a batch of matrices, in a slice. Element (row, column) of matrix (outer, inner) of the batch is element
 * `offset + outer batchStrides[0] + inner batchStrides[1] + row rowStride + column` of the slice. Rows and columns are those in memory
 * (before a transposition); neighbors along a row are neighbors in memory.
 */
export interface MatrixOperand {
  /** Where the elements are. */
  slice: Slice;
  /**
   * The same slice in a texture, if it is in one, see {@linkcode texelsOf}: read where vectors of four can be. Default: operands are
   * copied for the product where that pays.
   */
  texels?: Slice | undefined;
  /** Elements before the first matrix. Default 0. */
  offset?: number;
  /** Elements from one row to the next. Default: the number of columns in memory. */
  rowStride?: number;
  /** Elements from one matrix to the next along the outer and the inner axis of the batch; 0 repeats. Default: dense. */
  batchStrides?: readonly [number, number];
}

/** Options of {@linkcode matmul}. */
export interface MatmulOptions {
  /** Left operand: rows × inner in memory, or inner × rows with `transposeA`. */
  a: MatrixOperand;
  /** Right operand: inner × columns in memory, or columns × inner with `transposeB` (weights stored as [outputs, inputs]). */
  b: MatrixOperand;
  /** The product: rows × columns. It must not share a buffer with an operand. */
  c: MatrixOperand;
  /** Rows of the product. */
  rows: number;
  /** Columns of the product. */
  columns: number;
  /** Length of the sums, at least 1. */
  inner: number;
  /** Whether A is stored as inner × rows. Default false. */
  transposeA?: boolean;
  /** Whether B is stored as columns × inner. Default false. */
  transposeB?: boolean;
  /** Extents of the two axes of the batch, such as [images, heads]. Default [1, 1]. */
  batch?: readonly [number, number];
  /** Added to each row of the product: `columns` numbers. */
  bias?: Slice | undefined;
  /** Added to the product, after the bias: of the type of C and laid out as C is from its offset on. */
  residual?: Slice | undefined;
  /** Factor of the product (not of bias and residual). Default 1. */
  alpha?: number;
  /** Adds to what C holds instead of overwriting it. Default false. */
  accumulate?: boolean;
  /** How the product is divided among workgroups and lanes. Default: chosen by shape and adapter. */
  tile?: Tile;
}

type Axis = "outer" | "inner" | "rows" | "columns" | "depth";

/** Begin and end along each axis of a part of the product. */
type Block = Record<Axis, readonly [number, number]>;

interface MatrixAxis {
  axis: Axis;
  stride: number;
}

interface Matrix {
  slice: Slice;
  texels: Slice | undefined;
  offset: number;
  /** From slowest to fastest. */
  axes: readonly [MatrixAxis, MatrixAxis, MatrixAxis, MatrixAxis];
}

interface Product {
  a: Matrix;
  b: Matrix;
  c: Matrix;
  bias: Slice | undefined;
  residual: Slice | undefined;
  alpha: number;
  tile: Tile;
  form: ProductForm;
}

/** Parts begin at multiples of this along any axis, so that vectors of four stay whole. */
const PART_MULTIPLE = 64;

/**
 * Computes a product with a given tile, see {@linkcode MatmulOptions}; what passes the adapter's limits runs in parts.
 *
 * @param gpu The device.
 * @param options Operands, sizes and tile.
 * @throws {RangeError} If an operand reaches past its slice.
 * @throws {GpuMemoryError} If parts cannot be made small enough to bind.
 */
export function multiply(gpu: Gpu, options: MatmulOptions & { tile: Tile }): void {
  const { rows, columns, inner, transposeA = false, transposeB = false, tile } = options;
  const batch = options.batch ?? [1, 1];
  const block: Block = {
    outer: [0, batch[0]],
    inner: [0, batch[1]],
    rows: [0, rows],
    columns: [0, columns],
    depth: [0, inner],
  };
  const a = matrixOf("A", options.a, transposeA ? ["depth", "rows"] : ["rows", "depth"], block);
  const b = matrixOf(
    "B",
    options.b,
    transposeB ? ["columns", "depth"] : ["depth", "columns"],
    block,
  );
  const c = matrixOf("C", options.c, ["rows", "columns"], block);
  const { bias, residual, alpha = 1 } = options;
  const aVector = inVectors(a, block) && (!transposeA || tile.rows % 4 === 0);
  const bVector = inVectors(b, block) && (transposeB || tile.columns % 4 === 0);
  const form: ProductForm = {
    aAlong: transposeA ? "rows" : "inner",
    bAlong: transposeB ? "inner" : "columns",
    aVector,
    bVector,
    cVector: inVectors(c, block) && tile.columns % 4 === 0 &&
      (!residual || beginsVector(residual)),
    bias: bias !== undefined,
    residual: residual !== undefined,
    accumulate: options.accumulate ?? false,
    aTexels: aVector && a.texels !== undefined,
    bTexels: bVector && b.texels !== undefined,
    aHalf: a.slice.half ?? false,
    bHalf: b.slice.half ?? false,
    cHalf: c.slice.half ?? false,
  };
  if (residual) {
    matrixOf(
      "the residual",
      { ...options.c, slice: residual, offset: 0 },
      ["rows", "columns"],
      block,
    );
  }
  launch(gpu, { a, b, c, bias, residual, alpha, tile, form }, block);
}

function matrixOf(
  name: string,
  operand: MatrixOperand,
  [slow, fast]: readonly [Axis, Axis],
  block: Block,
): Matrix {
  const { slice, texels, offset = 0, rowStride = block[fast][1] } = operand;
  const matrixSize = block[slow][1] * rowStride;
  const [outer, inner] = operand.batchStrides ?? [block.inner[1] * matrixSize, matrixSize];
  const matrix: Matrix = {
    slice,
    texels,
    offset,
    axes: [
      { axis: "outer", stride: outer },
      { axis: "inner", stride: inner },
      { axis: slow, stride: rowStride },
      { axis: fast, stride: 1 },
    ],
  };
  const { end } = extentOf(matrix, block);
  const endBytes = elementBytes(slice) * end;
  if (endBytes > slice.bytes) {
    throw new RangeError(
      `Cannot multiply matrices: expected ${name} within ${slice.bytes} bytes, found it to end at ${endBytes}`,
    );
  }
  return matrix;
}

/** First element of a block in an operand's slice, and the one after the last. */
function extentOf(matrix: Matrix, block: Block): { first: number; end: number } {
  let first = matrix.offset;
  let end = matrix.offset + 1;
  for (const { axis, stride } of matrix.axes) {
    first += block[axis][0] * stride;
    end += (block[axis][1] - 1) * stride;
  }
  return { first, end };
}

/** Whether four neighbors always lie in one aligned vector. */
function inVectors(matrix: Matrix, block: Block): boolean {
  return beginsVector(matrix.slice, matrix.offset) &&
    matrix.axes.every(({ axis, stride }, i) => {
      const extent = block[axis][1];
      return i === 3 ? extent % 4 === 0 : extent === 1 || stride % 4 === 0;
    });
}

/** Runs a block, or its halves where an operand passes the largest binding, the grid the largest dispatch, or a sum the longest loop. */
function launch(gpu: Gpu, product: Product, block: Block): void {
  const { a, b, c, tile } = product;
  const limit = gpu.limits.maxComputeWorkgroupsPerDimension;
  const extent = (axis: Axis): number => block[axis][1] - block[axis][0];
  const { aVector, bVector, aTexels, bTexels } = product.form;
  const windows = [
    aTexels ? wholeTexture(a) : windowOf(gpu, a.slice, extentOf(a, block)),
    bTexels ? wholeTexture(b) : windowOf(gpu, b.slice, extentOf(b, block)),
    windowOf(gpu, c.slice, extentOf(c, block)),
  ] as const;
  const workgroups = [
    Math.ceil(extent("columns") / tileColumns(tile)),
    Math.ceil(extent("rows") / tileRows(tile)),
    extent("outer") * extent("inner"),
  ] as const;
  const copied = copyLimits(gpu);
  const limits = [gpu, aVector ? copied : gpu, bVector ? copied : gpu];
  // C first: the parts of a product are best independent, and only parts along the depth are not.
  const tooLarge = [c, a, b].find((_, i) => !fits(limits[i]!, windows[(i + 2) % 3]!));
  let axes: Axis[] = [];
  if (tooLarge) axes = tooLarge.axes.filter(({ stride }) => stride > 0).map(({ axis }) => axis);
  else if (workgroups[2] > limit) axes = ["outer", "inner"];
  else if (workgroups[1] > limit) axes = ["rows"];
  else if (workgroups[0] > limit) axes = ["columns"];
  else if (extent("depth") > MOST_ITERATIONS) axes = ["depth"];
  const axis = axes.find((axis) => extent(axis) > smallestPart(product, axis));
  if (axis) launchHalves(gpu, product, block, axis);
  else if (tooLarge) {
    throw new GpuMemoryError(
      `Cannot bind a matrix product: expected parts of at most ${gpu.maxBindingBytes} bytes, found an element that needs more`,
    );
  } else launchWhole(gpu, product, block, windows, workgroups);
}

function wholeTexture({ texels }: Matrix): Window {
  return { slice: texels!, origin: 0 };
}

/** Vectors of four must stay whole along the axes that they lie along. */
function smallestPart({ a, b, c, form }: Product, axis: Axis): number {
  const { aVector, bVector, cVector } = form;
  const vectors = [[a, aVector], [b, bVector], [c, cVector]] as const;
  return vectors.some(([matrix, vector]) => vector && matrix.axes[3].axis === axis) ? 4 : 1;
}

function launchHalves(gpu: Gpu, product: Product, block: Block, axis: Axis): void {
  const [begin, end] = block[axis];
  const half = (end - begin) / 2;
  const multiple = [PART_MULTIPLE, 4, 1].find((multiple) => half > multiple) ?? 1;
  const middle = begin + Math.ceil(half / multiple) * multiple;
  launch(gpu, product, { ...block, [axis]: [begin, middle] });
  // Further parts of the sums are added to the first, which alone has bias and residual.
  const sum = { ...product.form, bias: false, residual: false, accumulate: true };
  const rest = axis === "depth"
    ? { ...product, bias: undefined, residual: undefined, form: sum }
    : product;
  launch(gpu, rest, { ...block, [axis]: [middle, end] });
}

function launchWhole(
  gpu: Gpu,
  product: Product,
  block: Block,
  windows: readonly [Window, Window, Window],
  workgroups: readonly [number, number, number],
): void {
  const { a, b, c, bias, residual, alpha, tile } = product;
  const params: Record<string, number> = {
    alpha,
    m: block.rows[1] - block.rows[0],
    n: block.columns[1] - block.columns[0],
    depth: block.depth[1] - block.depth[0],
    innerBatch: block.inner[1] - block.inner[0],
    biasOffset: 0,
    residualShift: 0,
  };
  for (const [name, matrix, window] of [["a", a, 0], ["b", b, 1], ["c", c, 2]] as const) {
    params[`${name}Offset`] = windows[window].origin + extentOf(matrix, block).first;
    params[`${name}Outer`] = matrix.axes[0].stride;
    params[`${name}Inner`] = matrix.axes[1].stride;
    params[`${name}Step`] = matrix.axes[2].stride;
  }
  const operations = 2 * params.m! * params.n! * params.depth! * workgroups[2];
  const [columns, depth] = [params.n!, params.depth!];
  const single = gpu.adapter.software && workgroups[1] > 1 && workgroups[2] === 1 && !bias;
  const band = single ? bandColumns(columns, depth, tile) : columns;
  if (band < columns) {
    // Bands are a batch whose products share A.
    params.n = band;
    params.aOuter = 0;
    for (const [name, { axes }] of [["b", b], ["c", c]] as const) {
      params[`${name}Outer`] = band * axes.find(({ axis }) => axis === "columns")!.stride;
    }
  }
  const operands = { a: windows[0].slice, b: windows[1].slice };
  const { form, copies, ...copied } = inTexels(gpu, operands, { ...product, operations });
  const buffers: Record<string, Slice> = { ...copied, c: windows[2].slice };
  if (bias) {
    const window = windowOf(gpu, bias, { first: block.columns[0], end: block.columns[1] });
    buffers.bias = window.slice;
    params.biasOffset = window.origin + block.columns[0];
  }
  if (residual) {
    const { first, end } = extentOf(c, block);
    const window = windowOf(gpu, residual, { first: first - c.offset, end: end - c.offset });
    buffers.residual = window.slice;
    params.residualShift = window.origin - c.offset - windows[2].origin;
  }
  gpu.run(productKernel(tile, form, matmulAddressing(form)), "matmul", {
    buffers,
    params,
    workgroups: band < columns
      ? [band / tileColumns(tile), workgroups[1], columns / band]
      : workgroups,
    work: { operations },
  });
  for (const copy of copies) gpu.release(copy);
}

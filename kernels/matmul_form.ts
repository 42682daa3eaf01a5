/** What the generator of tiled matrix products is told: layout, addressing, and how columns and accumulators are laid out in a lane. @module */

import type { Tile } from "./matmul_tile.ts";

/** Layout of the operands of a product `C = A B`, as far as the text of the kernel depends on it. */
export interface ProductForm {
  /** The axis of A (rows × inner) whose elements are neighbors in memory. */
  aAlong: "inner" | "rows";
  /** The axis of B (inner × columns) whose elements are neighbors in memory. */
  bAlong: "inner" | "columns";
  /** A can be loaded four neighbors at a time: extents, strides and offsets are multiples of 4. */
  aVector: boolean;
  /** The same of B. */
  bVector: boolean;
  /** Four neighboring columns of C can be stored at a time. */
  cVector: boolean;
  /** Whether a bias is added to each row. */
  bias: boolean;
  /** Whether a residual, laid out as C, is added. */
  residual: boolean;
  /** Whether the product is added to what C holds. */
  accumulate: boolean;
  /** A is an array of vectors in a texture (see texels.wgsl): `aVector` holds, `aHalf` does not. */
  aTexels: boolean;
  /** The same of B. */
  bTexels: boolean;
  /** Elements of A are 16-bit floats. Sums are f32 in any case. */
  aHalf: boolean;
  /** The same of B. */
  bHalf: boolean;
  /** The same of C and of the residual. */
  cHalf: boolean;
}

/**
 * How rows, columns and sums become addresses, as WGSL. A sum may consist of segments (the taps of a convolution): between `open` and
 * `close` stands a loop over `count` neighbors along the inner axis. All addresses are in elements (u32, wrapping).
 */
export interface Addressing {
  /** Named in labels and errors, and name of the entry point. */
  name: string;
  /** Fields of `Params` behind the common ones. */
  params: string;
  /**
   * Defines `m`, `n` (rows, columns) and `bStep` (elements between neighbors of the strided axis of B), and `aStep` (the same of A) if A
   * is along the rows.
   */
  prologue: string;
  /**
   * Statements before the loops that prepare rows `start + offset` of A, numbered `first + offset`. Rows past the last must get an
   * address of A too.
   */
  prepareRows: (start: string, offsets: readonly number[], first: number) => string;
  /**
   * Opens the loops over segments and defines `count`, `bBase` (address in B of inner step 0, column 0) and, for each prepared row, its
   * address in A at inner step 0: `p0`, `p1`, ….
   */
  open: (rows: readonly number[]) => string;
  /** Closes what `open` opened. */
  close: string;
  /**
   * Condition under which a row of A exists at inner step `k`, where rows may lie outside (zero padding). Along the inner axis, it does
   * not depend on `k`; along the rows, four rows of a vector share it.
   */
  mask?: (row: number, k: string) => string;
  /** Statements that define `d0`, `d1`, … (address in C of `count` consecutive rows from `start`) and `in0`, … (whether it exists). */
  storeRows: (start: string, count: number) => string;
}

/**
 * Lists the numbers below a bound.
 *
 * @param count The bound.
 * @returns 0 … count - 1.
 */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Components of a vec4f. */
export const COMPONENTS = ["x", "y", "z", "w"] as const;

/** Whether the columns of a lane come in groups of four neighbors. */
function byFours(tile: Tile, form: ProductForm): boolean {
  return tile.family === "workgroup" || form.cVector || (form.bAlong === "columns" && form.bVector);
}

/**
 * Writes which column of the product is a lane's j-th: lanes take turns, so that neighbors load neighbors.
 *
 * @param tile What a lane owns.
 * @param form Layout of the operands.
 * @param j Number of the column in the lane.
 * @returns WGSL.
 */
export function columnOf(tile: Tile, form: ProductForm, j: number): string {
  const { lanesX } = tile;
  if (tile.family === "dot") return `firstColumn + lane / ${lanesX}u * ${tile.columns}u + ${j}u`;
  return byFours(tile, form)
    ? `firstColumn + ${(j >> 2) * lanesX * 4 + (j & 3)}u + 4u * laneX`
    : `firstColumn + ${j * lanesX}u + laneX`;
}

/**
 * Tells whether accumulators are vectors of four columns: a text of vectors is a quarter as long, and compiles to the same.
 *
 * @param tile What a lane owns.
 * @returns Whether its columns come in fours.
 */
export function vectorAccumulators(tile: Tile): boolean {
  return tile.columns % 4 === 0;
}

/**
 * Writes the loading of an element, or of four neighbors, as f32.
 *
 * @param form Layout of the operands.
 * @param operand Which operand.
 * @param index Index in its binding, as WGSL.
 * @returns WGSL.
 */
export function loaded(form: ProductForm, operand: "a" | "b", index: string): string {
  if (operand === "a" ? form.aTexels : form.bTexels) {
    return `texelAt(${operand}, ${index})`;
  }
  const [vector, half] = operand === "a" ? [form.aVector, form.aHalf] : [form.bVector, form.bHalf];
  const value = `${operand}[${index}]`;
  return half ? `${vector ? "vec4f" : "f32"}(${value})` : value;
}

/**
 * Declares the accumulators of a lane.
 *
 * @param tile What a lane owns.
 * @returns Statements that set them to zero.
 */
export function declareAccumulators(tile: Tile): string {
  const vector = vectorAccumulators(tile);
  return range(tile.rows).map((i) =>
    range(vector ? tile.columns / 4 : tile.columns).map((j) =>
      `var c${i}_${j} = ${vector ? "vec4f()" : "0f"};`
    ).join(" ")
  ).join("\n");
}

/**
 * Lists which of `count` rows of A need an address: the first of each vector, or all.
 *
 * @param form Layout of the operands.
 * @param count Rows.
 * @returns Their offsets.
 */
export function addressedRows(form: ProductForm, count: number): number[] {
  const unit = form.aAlong === "rows" && form.aVector ? 4 : 1;
  return range(count / unit).map((i) => i * unit);
}

/**
 * Writes a row of A, but not past the last that an address can begin at.
 *
 * @param form Layout of the operands.
 * @param row The row, as WGSL.
 * @returns WGSL.
 */
export function clampedRow(form: Pick<ProductForm, "aAlong" | "aVector">, row: string): string {
  return `min(${row}, m - ${form.aAlong === "rows" && form.aVector ? 4 : 1}u)`;
}

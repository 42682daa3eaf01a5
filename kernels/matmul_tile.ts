/** Tiles of matrix products: what a lane and a workgroup own. @module */

import type { AdapterDescription } from "./gpu.ts";

/** How a product is divided among workgroups and lanes. */
export interface Tile {
  /**
   * `register`: lanes load both operands straight into registers, without workgroup memory or barriers (software adapters).
   * `workgroup`: both operands are staged in workgroup memory (GPUs); `rows` and `columns` are multiples of 4.
   * `dot`: lanes share the sums of few rows: each adds up a part of the inner axis.
   */
  family: "register" | "workgroup" | "dot";
  /** Lanes side by side over the columns of the product; with `dot`, lanes that share a sum, a power of two. */
  lanesX: number;
  /** Lanes side by side over the rows of the product; with `dot`, over the columns. */
  lanesY: number;
  /** Rows that a lane owns. */
  rows: number;
  /** Columns that a lane owns. */
  columns: number;
  /**
   * The operand that all lanes of a register tile read at the same addresses: each lane loads a part, which subgroup operations deal out.
   * The lanes are one subgroup and lie side by side along the other operand: `lanesY` is 1 for A, `lanesX` for B. Default: none.
   */
  broadcast?: "a" | "b";
  /** Whether the `lanesX` lanes of a `dot` are a subgroup, which adds without workgroup memory. Default false. */
  subgroupSum?: boolean;
}

/** What the choice of a tile may depend on. */
export interface ProductShape {
  /** Rows of the product. */
  rows: number;
  /** Columns of the product. */
  columns: number;
  /** Length of the sums. */
  inner: number;
  /** Products of this shape. */
  batch: number;
  /** The axis of B whose elements are neighbors in memory. Default: inner. */
  bAlong?: "inner" | "columns";
}

/**
 * Counts the rows of the product that a workgroup owns.
 *
 * @param tile The tile.
 * @returns Lanes along the rows times rows of a lane.
 */
export function tileRows(tile: Tile): number {
  return tile.family === "dot" ? tile.rows : tile.lanesY * tile.rows;
}

/**
 * Counts the columns of the product that a workgroup owns.
 *
 * @param tile The tile.
 * @returns Lanes along the columns times columns of a lane.
 */
export function tileColumns(tile: Tile): number {
  return (tile.family === "dot" ? tile.lanesY : tile.lanesX) * tile.columns;
}

/** A partial sum runs over at most this many products: longer chains of additions lose digits. */
const LONGEST_SUM = 2048;
/** More workgroups never pay where a partial sum would have fewer products than this. */
const SHORTEST_SUM = 128;
/** Workgroups that keep an adapter busy. */
const BUSY_WORKGROUPS = { software: 8, gpu: 256 };

/**
 * Chooses into how many partial sums, each by its own workgroups, long sums are divided.
 *
 * @param length Length of the sums.
 * @param workgroups Workgroups that compute all sums without division.
 * @param adapter Where they run.
 * @returns At least 1.
 */
export function shareCount(
  length: number,
  workgroups: number,
  adapter: AdapterDescription,
): number {
  const busy = BUSY_WORKGROUPS[adapter.software ? "software" : "gpu"];
  return Math.ceil(
    Math.max(1, length / LONGEST_SUM, Math.min(busy / workgroups, length / SHORTEST_SUM)),
  );
}

/** A core's second cache holds a B of so many bytes while other things pass through it, and a B of so many in part. */
const BAND_BYTES = 2 ** 18;
const CACHE_BYTES = 2 ** 20;

/**
 * Chooses how many columns of a product a software adapter computes for all rows before it goes on: B is loaded again for each row of
 * tiles, which takes up to a quarter longer where it does not come from a core's own cache.
 *
 * @param columns Columns of the product.
 * @param length Length of the sums.
 * @param tile What a workgroup owns.
 * @returns All columns, or a part of them that is a multiple of the tile's and divides them.
 */
export function bandColumns(columns: number, length: number, tile: Tile): number {
  let band = columns;
  if (4 * length * columns <= CACHE_BYTES) return band;
  while (band % (2 * tileColumns(tile)) === 0 && 4 * length * band > BAND_BYTES) band /= 2;
  return band;
}

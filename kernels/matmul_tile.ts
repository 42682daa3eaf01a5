/** Tiles of matrix products: what a lane and a workgroup own, and the choice by shape and adapter. @module */

import type { AdapterDescription } from "./gpu.ts";

/** How a product is divided among workgroups and lanes. */
export interface Tile {
  /**
   * `register`: lanes load both operands straight into registers, without workgroup memory or barriers (software adapters).
   * `workgroup`: both operands are staged in workgroup memory (GPUs); `rows` and `columns` are multiples of 4.
   */
  family: "register" | "workgroup";
  /** Lanes side by side over the columns of the product. */
  lanesX: number;
  /** Lanes side by side over the rows of the product. */
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
}

/**
 * Counts the rows of the product that a workgroup owns.
 *
 * @param tile The tile.
 * @returns Lanes times rows of a lane.
 */
export function tileRows(tile: Tile): number {
  return tile.lanesY * tile.rows;
}

/**
 * Counts the columns of the product that a workgroup owns.
 *
 * @param tile The tile.
 * @returns Lanes times columns of a lane.
 */
export function tileColumns(tile: Tile): number {
  return tile.lanesX * tile.columns;
}

/** Products of fewer multiplications take the tile that compiles faster instead of the one that runs faster. */
const LARGE_PRODUCT = 2 ** 24;

/**
 * Chooses the tile of a product: one of a small set, so that few pipelines are compiled.
 *
 * @param shape Size of the product.
 * @param adapter Where it runs.
 * @returns The tile.
 */
export function tileFor(shape: ProductShape, adapter: AdapterDescription): Tile {
  if (!adapter.software) return gpuTile(shape);
  return adapter.subgroupSize === SOFTWARE_LANES ? subgroupTile(shape) : softwareTile(shape);
}

/** Lanes that a software adapter runs in step. */
const SOFTWARE_LANES = 8;

/**
 * A software adapter pays for loads lane by lane, whatever their addresses are. What is the same for all lanes is therefore loaded once
 * and dealt out, and the other operand lies along the lanes: the longer side of the product, where it is long enough for all of them.
 */
function subgroupTile({ rows, columns, inner, batch }: ProductShape): Tile {
  const alongRows = (rows: number, columns: number): Tile => ({
    family: "register",
    lanesX: 1,
    lanesY: SOFTWARE_LANES,
    rows,
    columns,
    broadcast: "b",
  });
  const alongColumns = (rows: number, columns: number): Tile => ({
    family: "register",
    lanesX: SOFTWARE_LANES,
    lanesY: 1,
    rows,
    columns,
    broadcast: "a",
  });
  if (rows <= 8) return alongColumns(rows <= 4 ? rows : 8, rows <= 4 ? 4 : 8);
  if (columns <= 4) return alongRows(8, columns);
  if (columns <= 16) return alongRows(8, columns <= 8 ? 8 : 16);
  if (rows <= 16) return alongColumns(16, 8);
  const large = columns > 32 && rows * columns * inner * batch >= LARGE_PRODUCT;
  return alongColumns(32, large ? 8 : 4);
}

/**
 * A software adapter runs 8 lanes in step and pays for loads: the best lane owns 16×16 numbers (load 32, multiply 256 times), and lanes
 * must not idle, so few columns or few rows bend the grid of lanes.
 */
function softwareTile({ rows, columns, inner, batch }: ProductShape): Tile {
  const tile = (lanesX: number, rows: number, columns: number): Tile => ({
    family: "register",
    lanesX,
    lanesY: 8 / lanesX,
    rows,
    columns,
  });
  if (columns <= 4) return tile(1, 16, columns);
  if (rows <= 4) return rows === 1 ? tile(8, 1, 4) : tile(8, 4, 8);
  if (columns <= 8) return tile(1, 16, 8);
  if (columns <= 16) return tile(1, 8, 16);
  if (rows <= 8) return tile(8, 8, 16);
  if (rows <= 16) return tile(4, 8, 16);
  return rows <= 32 || rows * columns * inner * batch < LARGE_PRODUCT
    ? tile(2, 8, 16)
    : tile(2, 16, 16);
}

/** A GPU wants many lanes and shares loads through workgroup memory; thin products have nothing to share. */
function gpuTile({ rows, columns }: ProductShape): Tile {
  if (columns <= 4) return { family: "register", lanesX: 1, lanesY: 64, rows: 4, columns };
  if (rows <= 4) return { family: "register", lanesX: 64, lanesY: 1, rows, columns: 1 };
  const size = rows <= 32 || columns <= 32 ? 4 : 8;
  return { family: "workgroup", lanesX: 8, lanesY: 8, rows: size, columns: size };
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

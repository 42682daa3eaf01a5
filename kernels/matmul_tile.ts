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
}

/** What the choice of a tile may depend on. */
export interface ProductShape {
  /** Rows of the product. */
  rows: number;
  /** Columns of the product. */
  columns: number;
  /** Length of the sums. */
  inner: number;
}

/** @returns Rows of the product that a workgroup owns. */
export function tileRows(tile: Tile): number {
  return tile.lanesY * tile.rows;
}

/** @returns Columns of the product that a workgroup owns. */
export function tileColumns(tile: Tile): number {
  return tile.lanesX * tile.columns;
}

/**
 * Chooses the tile of a product.
 *
 * @param shape Size of the product.
 * @param adapter Where it runs.
 * @returns One of a small set, so that few pipelines are compiled.
 */
export function tileFor(shape: ProductShape, adapter: AdapterDescription): Tile {
  const { rows, columns } = shape;
  if (!adapter.software) {
    if (columns <= 4) return { family: "register", lanesX: 1, lanesY: 64, rows: 4, columns: 4 };
    if (rows <= 4) return { family: "register", lanesX: 64, lanesY: 1, rows: 4, columns: 1 };
    return columns <= 32 || rows <= 32
      ? { family: "workgroup", lanesX: 8, lanesY: 8, rows: 4, columns: 4 }
      : { family: "workgroup", lanesX: 8, lanesY: 8, rows: 8, columns: 8 };
  }
  if (columns <= 4) return { family: "register", lanesX: 1, lanesY: 8, rows: 8, columns: 4 };
  if (rows <= 4) return { family: "register", lanesX: 8, lanesY: 1, rows: 4, columns: 4 };
  if (columns <= 16) return { family: "register", lanesX: 2, lanesY: 4, rows: 8, columns: 8 };
  return { family: "register", lanesX: 2, lanesY: 4, rows: 8, columns: 16 };
}

/** Which tiles can serve a product, and which one does where nothing was measured. @module */

import type { AdapterDescription } from "./gpu.ts";
import type { ProductShape, Tile } from "./matmul_tile.ts";

/** Kinds of adapters that want different tiles. */
export type AdapterClass = "software" | "integrated" | "discrete";

/**
 * Guesses what kind an adapter is, since WebGPU does not say.
 *
 * @param adapter What is known of it.
 * @returns Its kind; an adapter of unknown make counts as integrated.
 */
export function adapterClass(adapter: AdapterDescription): AdapterClass {
  if (adapter.software) return "software";
  const text = `${adapter.vendor} ${adapter.name}`;
  return /nvidia|geforce|quadro|tesla|\b4318\b|radeon (rx|pro|instinct)|\barc\b/i.test(text)
    ? "discrete"
    : "integrated";
}

/** Lanes that a software adapter runs in step. */
const SOFTWARE_LANES = 8;
/** Products of fewer multiplications take the tile that compiles faster instead of the one that runs faster. */
const LARGE_PRODUCT = 2 ** 24;
/** From so many multiplications on a tile is worth twice the time to compile, if it is a tenth faster. */
const HUGE_PRODUCT = 2 ** 27;
/** Workgroups of 128 × 128 numbers that keep a discrete GPU busy. */
const MANY_LARGE_TILES = 128;

/**
 * Chooses the tile of a product: one of a small set, so that few pipelines are compiled.
 *
 * @param shape Size of the product.
 * @param adapter Where it runs.
 * @returns The tile.
 */
export function tileFor(shape: ProductShape, adapter: AdapterDescription): Tile {
  if (!adapter.software) return gpuTile(shape, adapter);
  return adapter.subgroupSize === SOFTWARE_LANES
    ? subgroupTile(shape, adapter)
    : softwareTile(shape);
}

/**
 * Lists the tiles that suit a product on an adapter, for tests and for measuring. All give right results for any shape.
 *
 * @param shape Size of the product.
 * @param adapter Where it runs.
 * @returns Different tiles, the one that {@linkcode tileFor} chooses first.
 */
export function tileCandidates(shape: ProductShape, adapter: AdapterDescription): Tile[] {
  const { rows, columns } = shape;
  const thin = Math.min(rows, columns) <= 8;
  const tiles = [tileFor(shape, adapter)];
  if (adapter.software) {
    tiles.push(softwareTile(shape));
    if (!thin) tiles.push(split(2, 8, 16), split(2, 16, 16));
    if (adapter.subgroupSize === SOFTWARE_LANES) {
      const few = Math.min(columns, 16);
      if (columns <= 16) tiles.push(alongRows(4, few), alongRows(8, few), alongRows(16, few));
      if (rows <= 8) tiles.push(alongColumns(rows, 4), alongColumns(rows, 8));
      if (!thin) tiles.push(...LARGE_SUBGROUP_TILES);
    }
  } else {
    if (!thin) tiles.push(...STAGED_TILES);
    if (columns <= 8) tiles.push(...[2, 4, 8].map((rows) => thinColumns(rows, columns)));
    if (rows <= 8) tiles.push(thinRows(rows, 1), thinRows(rows, 4));
  }
  if (rows <= 4) tiles.push(...dots(rows, adapter));
  return [...new Map(tiles.map((tile) => [JSON.stringify(tile), tile])).values()];
}

/** Eight lanes, each with numbers of its own from both operands. */
function split(lanesX: number, rows: number, columns: number): Tile {
  return { family: "register", lanesX, lanesY: SOFTWARE_LANES / lanesX, rows, columns };
}

/** Eight lanes over the rows, which share B. */
function alongRows(rows: number, columns: number): Tile {
  return {
    family: "register",
    lanesX: 1,
    lanesY: SOFTWARE_LANES,
    rows,
    columns,
    broadcast: "b",
  };
}

/** Eight lanes over the columns, which share A. */
function alongColumns(rows: number, columns: number): Tile {
  return {
    family: "register",
    lanesX: SOFTWARE_LANES,
    lanesY: 1,
    rows,
    columns,
    broadcast: "a",
  };
}

const LARGE_SUBGROUP_TILES = [
  alongRows(8, 32),
  alongRows(8, 16),
  alongColumns(32, 8),
  alongColumns(32, 4),
  alongColumns(16, 8),
];

/**
 * A software adapter pays for loads lane by lane, whatever their addresses are. What is the same for all lanes is therefore loaded once
 * and dealt out, and the other operand lies along the lanes: the longer side of the product, where it is long enough for all of them.
 * Where both are, it is A: lanes that store to rows of their own wait less for memory, as they have more of it on the way.
 */
function subgroupTile(
  { rows, columns, inner, batch }: ProductShape,
  { hasMaskedVectors = false }: AdapterDescription,
): Tile {
  if (rows <= 8) return alongColumns(rows <= 4 ? rows : 8, rows <= 4 ? 4 : 8);
  if (columns <= 4) return alongRows(8, columns);
  if (columns <= 16) return alongRows(8, columns <= 8 ? 8 : 16);
  if (rows <= 16) return alongColumns(16, 8);
  const huge = Math.min(rows, columns) >= 64 && rows * columns * inner * batch >= HUGE_PRODUCT;
  return hasMaskedVectors && huge ? alongRows(8, 32) : alongRows(4, 32);
}

/** Without subgroups the best lane owns 16×16 numbers; lanes must not idle, so few columns or few rows bend the grid of lanes. */
function softwareTile({ rows, columns, inner, batch }: ProductShape): Tile {
  if (columns <= 4) return split(1, 16, columns);
  if (rows <= 4) return rows === 1 ? split(8, 1, 4) : split(8, 4, 8);
  if (columns <= 8) return split(1, 16, 8);
  if (columns <= 16) return split(1, 8, 16);
  if (rows <= 8) return split(8, 8, 16);
  if (rows <= 16) return split(4, 8, 16);
  return rows <= 32 || rows * columns * inner * batch < LARGE_PRODUCT
    ? split(2, 8, 16)
    : split(2, 16, 16);
}

/** A square tile of a GPU. */
function staged(lanes: number, numbers: number): Tile {
  return { family: "workgroup", lanesX: lanes, lanesY: lanes, rows: numbers, columns: numbers };
}

const STAGED_TILES = [staged(8, 4), staged(8, 8), staged(16, 4), staged(16, 8)];

function thinColumns(rows: number, columns: number): Tile {
  return { family: "register", lanesX: 1, lanesY: 64, rows, columns };
}

function thinRows(rows: number, columns: number): Tile {
  return { family: "register", lanesX: 64, lanesY: 1, rows, columns };
}

/** Tiles whose lanes share sums: a subgroup where its size is known, and a workgroup. */
function dots(rows: number, { software, subgroupSize }: AdapterDescription): Tile[] {
  const columns = software ? 4 : 1;
  const tiles: Tile[] = [];
  if (subgroupSize > 0) {
    const lanesY = software ? 1 : Math.max(1, 128 / subgroupSize);
    const lanes = { lanesX: subgroupSize, lanesY };
    tiles.push({ family: "dot", ...lanes, rows, columns, subgroupSum: true });
    if (software) tiles.push({ family: "dot", ...lanes, rows, columns: 8, subgroupSum: true });
  }
  if (!software) tiles.push({ family: "dot", lanesX: 64, lanesY: 1, rows, columns });
  return tiles;
}

/** A GPU wants many lanes and shares loads through workgroup memory; thin products have nothing to share. */
function gpuTile(shape: ProductShape, adapter: AdapterDescription): Tile {
  const { rows, columns, batch, bAlong } = shape;
  if (columns <= 4) return thinColumns(4, columns);
  // Lanes that share a sum load neighbors along the inner axis, others load neighboring columns.
  if (rows <= 4) return bAlong === "columns" ? thinRows(rows, 1) : dots(rows, adapter)[0]!;
  if (rows <= 32 || columns <= 32) return staged(8, 4);
  const large = Math.ceil(rows / 128) * Math.ceil(columns / 128) * batch;
  return adapterClass(adapter) === "discrete" && large >= MANY_LARGE_TILES
    ? staged(16, 8)
    : staged(8, 8);
}

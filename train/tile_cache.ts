/** Measured tiles on disk: a file for each adapter, driver and text of the kernels. @module */

import type { AdapterDescription } from "../kernels/gpu.ts";
import type { Tile } from "../kernels/matmul_tile.ts";
import { productTexts } from "../kernels/product_texts.ts";
import { writeFileAtomically } from "./files/atomic.ts";

/** Where measured tiles are kept unless a caller says otherwise: the project's cache folder. */
export const TILE_FOLDER: URL = new URL("../.cache/tiles/", import.meta.url);

/** Tiles by class of product. */
export type MeasuredTiles = ReadonlyMap<string, Tile>;

/** Hexadecimal digits of a file's name. */
const NAME_DIGITS = 16;

/**
 * Names the file of an adapter's tiles. WebGPU tells of the driver what its name holds.
 *
 * @param adapter The adapter.
 * @param folder Where files are kept.
 * @returns The file, whether or not it exists.
 */
export async function tileFile(
  adapter: AdapterDescription,
  folder: URL = TILE_FOLDER,
): Promise<URL> {
  const key = `${JSON.stringify(adapter)}\n${Deno.version.deno}\n${productTexts()}`;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key));
  const name = new Uint8Array(digest).toHex().slice(0, NAME_DIGITS);
  return new URL(`${name}.json`, folder);
}

/**
 * Reads measured tiles.
 *
 * @param file What {@linkcode tileFile} named.
 * @returns The tiles; undefined if there is no such file, or it does not hold tiles.
 */
export async function readTiles(file: URL): Promise<MeasuredTiles | undefined> {
  let content: unknown;
  try {
    content = JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    // A file that is cut short is as good as none: it is measured anew.
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (!isObject(content) || !isObject(content.tiles)) return undefined;
  const entries = Object.entries(content.tiles);
  return entries.every(isTileEntry) ? new Map(entries) : undefined;
}

/**
 * Writes measured tiles, for people to read as well.
 *
 * @param file What {@linkcode tileFile} named.
 * @param adapter Its adapter.
 * @param tiles The tiles.
 * @throws {UserError} If the file cannot be written.
 */
export async function writeTiles(
  file: URL,
  adapter: AdapterDescription,
  tiles: MeasuredTiles,
): Promise<void> {
  await Deno.mkdir(new URL(".", file), { recursive: true });
  const content = { adapter: adapter.name, tiles: Object.fromEntries(tiles) };
  await writeFileAtomically(file.pathname, `${JSON.stringify(content, null, 2)}\n`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isTileEntry(entry: [string, unknown]): entry is [string, Tile] {
  const [, tile] = entry;
  if (!isObject(tile)) return false;
  const { family, broadcast, lanesX, lanesY, rows, columns } = tile;
  return (family === "register" || family === "workgroup") &&
    (broadcast === undefined || broadcast === "a" || broadcast === "b") &&
    [lanesX, lanesY, rows, columns].every((extent) =>
      typeof extent === "number" && Number.isInteger(extent) && extent > 0
    );
}

/** Measures the tiles that could serve a product, against each other, and picks the fastest right one. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import type { Tile } from "../../kernels/matmul_tile.ts";
import type { ProductRequest } from "../../kernels/tile_table.ts";
import { Product } from "./product.ts";

/** What became of one tile. */
export interface Candidate {
  /** The tile. */
  readonly tile: Tile;
  /** Median milliseconds of one product; undefined if the tile is wrong or was given up early. */
  readonly ms: number | undefined;
  /** Why there is no time, if there is none. */
  readonly verdict: "measured" | "wrong" | "slow";
}

/** How long is measured. */
export interface MeasureOptions {
  /** Milliseconds of a batch: the wait at its end must weigh little. */
  readonly batchMs?: number;
  /** Batches of each tile. */
  readonly rounds?: number;
}

/** A tile that takes this many times as long as the best of the first round is not measured again. */
const HOPELESS = 1.5;

/**
 * Measures tiles in turns, so that other work of the machine disturbs all of them alike.
 *
 * @param gpu The device.
 * @param request The product.
 * @param tiles The tiles.
 * @param options How long.
 * @returns What became of each tile, in the same order.
 */
export async function measureTiles(
  gpu: Gpu,
  request: ProductRequest,
  tiles: readonly Tile[],
  options: MeasureOptions = {},
): Promise<Candidate[]> {
  const { batchMs = 80, rounds = 5 } = options;
  using product = new Product(gpu, request);
  const run = async (tile: Tile, repetitions: number): Promise<number> => {
    const begin = performance.now();
    for (let i = 0; i < repetitions; i++) product.record(tile);
    await gpu.settle();
    return (performance.now() - begin) / repetitions;
  };
  const right: boolean[] = [];
  const times: number[][] = tiles.map(() => []);
  for (const [i, tile] of tiles.entries()) {
    right[i] = await product.isRight(tile);
    if (right[i]) times[i]!.push(await run(tile, 2));
  }
  const repetitions = Math.max(1, Math.ceil(batchMs / Math.min(...times.flat(), batchMs)));
  for (const list of times) list.length = 0;
  for (let round = 0; round < rounds; round++) {
    const best = Math.min(...times.flat());
    for (const [i, tile] of tiles.entries()) {
      const first = times[i]![0];
      if (!right[i] || (first !== undefined && first > HOPELESS * best)) continue;
      times[i]!.push(await run(tile, repetitions));
    }
  }
  return tiles.map((tile, i) => {
    const measured = times[i]!;
    if (!right[i]) return { tile, ms: undefined, verdict: "wrong" };
    if (measured.length < rounds) return { tile, ms: undefined, verdict: "slow" };
    return { tile, ms: measured.toSorted((a, b) => a - b)[rounds >> 1]!, verdict: "measured" };
  });
}

/**
 * Finds the fastest candidate.
 *
 * @param candidates What {@linkcode measureTiles} found.
 * @returns The fastest right one, or undefined if none is right.
 */
export function fastest(candidates: readonly Candidate[]): Candidate | undefined {
  return candidates.filter(({ ms }) => ms !== undefined).sort((a, b) => a.ms! - b.ms!)[0];
}

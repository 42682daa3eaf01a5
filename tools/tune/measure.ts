/** Measures the tiles that could serve a product, against each other, and picks the fastest right one. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import type { Tile } from "../../kernels/matmul_tile.ts";
import type { ProductRequest } from "../../kernels/tile_table.ts";
import { Product } from "./product.ts";

/** What became of one tile. */
export interface Candidate {
  /** The tile. */
  readonly tile: Tile;
  /** Milliseconds of one product in the best batch; undefined if the tile is wrong or was given up early. */
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

/** A tile that takes this many times as long as the best one in each of the first rounds is not measured again. */
const HOPELESS = 1.5;
const FIRST_ROUNDS = 2;
/** A batch has about this many repetitions, at most. */
const MOST_REPETITIONS = 2048;
/** A tile replaces the shipped one if that takes this many times as long, at least: less is noise, and each tile is a text to compile. */
const WORTH_A_CHANGE = 1.05;

/**
 * Measures tiles in turns, so that other work of the machine disturbs all of them alike. The best batch of each counts, as such work
 * only ever takes time.
 *
 * @param gpu The device.
 * @param request The product.
 * @param tiles The tiles; the first one, the shipped, is never given up.
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
  for (const tile of tiles) right.push(await product.isRight(tile));
  const any = tiles.find((_, i) => right[i]);
  let repetitions = 1;
  while (any && repetitions < MOST_REPETITIONS) {
    const ms = repetitions * await run(any, repetitions);
    if (ms >= 0.8 * batchMs) break;
    // Until several waits have passed, they are most of the time.
    repetitions = Math.ceil(repetitions * (ms < 0.4 * batchMs ? 4 : batchMs / ms));
  }
  const times: number[][] = tiles.map(() => []);
  const least = times.map(() => Infinity);
  for (let round = 0; round < rounds; round++) {
    const hopeless = round < FIRST_ROUNDS ? Infinity : HOPELESS * Math.min(...least);
    for (const [i, tile] of tiles.entries()) {
      if (!right[i] || i > 0 && least[i]! > hopeless) continue;
      times[i]!.push(await run(tile, repetitions));
      least[i] = Math.min(...times[i]!);
    }
  }
  return tiles.map((tile, i) => {
    if (!right[i]) return { tile, ms: undefined, verdict: "wrong" };
    if (times[i]!.length < rounds) return { tile, ms: undefined, verdict: "slow" };
    return { tile, ms: least[i], verdict: "measured" };
  });
}

/**
 * Chooses among candidates.
 *
 * @param candidates What {@linkcode measureTiles} found, the shipped tile first.
 * @returns The fastest right one, but the shipped one where the gain would be within the noise; undefined if none is right.
 */
export function fastest(candidates: readonly Candidate[]): Candidate | undefined {
  const [best] = candidates.filter(({ ms }) => ms !== undefined).sort((a, b) => a.ms! - b.ms!);
  const shipped = candidates[0];
  return best && shipped?.ms !== undefined && shipped.ms < WORTH_A_CHANGE * best.ms!
    ? shipped
    : best;
}

/** Measures which tile serves each class of products best on this adapter: `deno task tune`. @module */

import { fileURLToPath } from "node:url";
import { parseArgs } from "@std/cli/parse-args";
import { Gpu } from "../kernels/gpu.ts";
import { tileCandidates, tileFor } from "../kernels/matmul_choice.ts";
import type { Tile } from "../kernels/matmul_tile.ts";
import { productClass, type ProductRequest } from "../kernels/tile_table.ts";
import { loadConfig } from "../train/config/mod.ts";
import { USER_ERROR_EXIT_CODE, UserError } from "../train/errors.ts";
import { memoryBudgetBytes } from "../train/open_gpu.ts";
import { readTiles, tileFile, writeTiles } from "../train/tile_cache.ts";
import { type Candidate, fastest, measureTiles } from "./tune/measure.ts";
import { collectRequests } from "./tune/requests.ts";

const DEFAULTS = ["openmoji_tokenizer", "openmoji_transformer"].map((name) =>
  fileURLToPath(new URL(`../configs/${name}.yaml`, import.meta.url))
);

const HELP =
  `Measures tiles of matrix products and convolutions on this adapter and keeps the fastest.

Usage: deno task tune [--config FILE ...] [--again] [--only TEXT]

  --config FILE  models whose products are measured, a tokenizer before the transformer that uses it;
                 both default configurations if left out
  --only TEXT    only classes of products whose name has this text in it, such as conv2d
  --again        measure what was measured before as well
  --help         show this text

One training step of each model lists its products. Of each class of products, every tile that could
serve it is checked against sums in double precision and timed against the others, in turns; one that
computes a wrong number is left out, and one that is less than 5 % faster than the shipped one, too. The choice is kept in .cache/tiles, in a file named by adapter,
driver and text of the kernels, and used from then on. Ctrl-C keeps what was measured so far.`;

const NAME_WIDTH = 52;

/** Says what a tile is, in a few letters. */
function describe({ family, lanesX, lanesY, rows, columns, broadcast }: Tile): string {
  const lanes = `${lanesX}x${lanesY} lanes of ${columns}x${rows}`;
  return `${family} ${lanes}${broadcast === undefined ? "" : `, ${broadcast} dealt out`}`;
}

/** A line for a class: its tile, and how much faster than the shipped default that is. */
function report(name: string, candidates: readonly Candidate[], shipped: Tile): string {
  const best = fastest(candidates);
  const wrong = candidates.filter(({ verdict }) => verdict === "wrong");
  const warning = wrong.map(({ tile }) => `\n  WRONG, left out: ${describe(tile)}`).join("");
  if (!best) return `${name.padEnd(NAME_WIDTH)} no tile is right${warning}`;
  const isShipped = (tile: Tile): boolean => JSON.stringify(tile) === JSON.stringify(shipped);
  const before = candidates.find(({ tile }) => isShipped(tile));
  const gain = isShipped(best.tile)
    ? "as shipped"
    : before?.ms === undefined
    ? "the shipped tile is wrong"
    : `${(before.ms / best.ms!).toFixed(2)} times the shipped tile's speed`;
  return `${name.padEnd(NAME_WIDTH)} ${best.ms!.toFixed(2).padStart(8)} ms  ${
    describe(best.tile)
  } (${gain})${warning}`;
}

async function tune(
  gpu: Gpu,
  requests: readonly ProductRequest[],
  options: { only: string; again: boolean; signal: AbortSignal },
): Promise<void> {
  const file = await tileFile(gpu.adapter);
  const tiles = new Map(await readTiles(file));
  const wanted = requests.filter((request) => {
    const name = productClass(request);
    return name.includes(options.only) && (options.again || !tiles.has(name));
  });
  console.log(
    `${gpu.adapter.name}: ${requests.length} classes of products, ${wanted.length} to measure`,
  );
  for (const request of wanted) {
    if (options.signal.aborted) break;
    const name = productClass(request);
    const candidates = await measureTiles(gpu, request, tileCandidates(request.shape, gpu.adapter));
    console.log(report(name, candidates, tileFor(request.shape, gpu.adapter)));
    const best = fastest(candidates);
    if (best) tiles.set(name, best.tile);
    // After each class: a file is small, and a measurement is not lost.
    await writeTiles(file, gpu.adapter, tiles);
  }
  console.log(`${tiles.size} classes are kept in ${fileURLToPath(file)}`);
}

async function main(args: readonly string[]): Promise<number> {
  const unknown: string[] = [];
  const { help, config, again, only } = parseArgs([...args], {
    boolean: ["help", "again"],
    string: ["config", "only"],
    collect: ["config"],
    alias: { help: "h" },
    unknown: (arg) => {
      unknown.push(arg);
      return false;
    },
  });
  if (help) {
    console.log(HELP);
    return 0;
  }
  if (unknown.length > 0) {
    throw new UserError(
      `Cannot tune: expected --config, --only, --again or --help, found ${unknown.join(" ")}`,
    );
  }
  const files = config.length > 0 ? config.map(String) : DEFAULTS;
  const configs = await Promise.all(files.map((file) => loadConfig({ file })));
  using gpu = await Gpu.open({ byteBudget: memoryBudgetBytes() });
  const requests = await collectRequests(gpu, configs);
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  Deno.addSignalListener("SIGINT", stop);
  try {
    await tune(gpu, requests, { only: only ?? "", again, signal: controller.signal });
  } finally {
    Deno.removeSignalListener("SIGINT", stop);
  }
  return 0;
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    Deno.exitCode = USER_ERROR_EXIT_CODE;
  }
}

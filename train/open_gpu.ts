/** Opens the device with the memory of the machine as its budget and the tiles that were measured on it. @module */

import { Gpu } from "../kernels/gpu.ts";
import type { CompileAhead } from "./compile_ahead.ts";
import { readTiles, tileFile } from "./tile_cache.ts";

/** Share of the machine's memory that buffers may take; the rest is for the program and everybody else. */
const MEMORY_SHARE = 0.8;

/**
 * Gives the bytes that GPU buffers may take in all.
 *
 * @returns A share of the machine's memory: a software adapter lives in it, and larger cards are rare.
 */
export function memoryBudgetBytes(): number {
  return Math.floor(Deno.systemMemoryInfo().total * MEMORY_SHARE);
}

/**
 * Opens the default adapter.
 *
 * @param ahead Compiles pipelines ahead of their first run; none by default.
 * @returns The device; dispose it. Nothing is measured here: without a file of measured tiles, the shipped defaults serve.
 * @throws {GpuError} If there is no adapter.
 */
export async function openGpu(ahead?: CompileAhead): Promise<Gpu> {
  const gpu = await Gpu.open({
    byteBudget: memoryBudgetBytes(),
    ...(ahead && { onPipeline: (description) => ahead.note(description) }),
  });
  ahead?.begin(gpu.adapter);
  gpu.tiles.load(await readTiles(await tileFile(gpu.adapter)) ?? []);
  return gpu;
}

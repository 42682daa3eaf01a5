/** Opens the device with the memory of the machine as its budget. @module */

import { Gpu } from "../kernels/gpu.ts";
import type { CompileAhead } from "./compile_ahead.ts";

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
 * @param ahead Compiles pipelines ahead of their first run.
 * @returns The device; dispose it.
 * @throws {GpuError} If there is no adapter.
 */
export async function openGpu(ahead: CompileAhead): Promise<Gpu> {
  const gpu = await Gpu.open({
    byteBudget: memoryBudgetBytes(),
    onPipeline: (description) => ahead.note(description),
  });
  ahead.begin(gpu.adapter);
  return gpu;
}

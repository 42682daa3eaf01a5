/** How many invocations share a row in kernels that are joined with lanes.wgsl. @module */

import type { Gpu } from "./gpu.ts";
import { MOST_ITERATIONS, requireIterations } from "./loop_limit.ts";

/** Invocations that share a row where barriers are cheap. */
const GPU_LANES = 256;

/** Size of a dispatch whose rows are shared. */
export interface RowLanes {
  /** Values of the `override` constants. */
  constants: { LANES: number; THREADS: number };
  /** Invocations in all. */
  threads: number;
}

/** Options of {@linkcode lanesFor}. */
export interface RowLanesOptions {
  /** Loop iterations that a row takes, over all loops and however many lanes share them. */
  iterations: number;
  /** Named in the error. */
  operation: string;
  /** Invocations that share a row, a power of two. Default: a workgroup; on a software adapter as few as the limit on loops allows. */
  lanes?: number | undefined;
}

/**
 * Sizes a dispatch over rows.
 *
 * @param gpu The device.
 * @param rows Number of rows.
 * @param options What a row takes.
 * @returns Constants and invocations for {@linkcode Gpu.run}.
 * @throws {RangeError} If a row is too long for the lanes of a software adapter.
 */
export function lanesFor(
  gpu: Gpu,
  rows: number,
  options: RowLanesOptions,
): RowLanes {
  const { iterations, operation } = options;
  const lanes = options.lanes ?? (gpu.adapter.software ? fewestLanes(iterations) : GPU_LANES);
  requireIterations(gpu, operation, iterations / lanes);
  return {
    constants: { LANES: lanes, THREADS: Math.max(lanes, gpu.threads) },
    threads: rows * lanes,
  };
}

function fewestLanes(iterations: number): number {
  let lanes = 1;
  while (lanes < GPU_LANES && iterations / lanes > MOST_ITERATIONS) lanes *= 2;
  return lanes;
}

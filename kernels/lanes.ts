/** How many invocations share a row in kernels that are joined with lanes.wgsl. @module */

import type { Gpu } from "./gpu.ts";

/** Invocations that share a row where barriers are cheap. */
const GPU_LANES = 256;

/** Size of a dispatch whose rows are shared. */
export interface RowLanes {
  /** Values of the `override` constants. */
  constants: { LANES: number; THREADS: number };
  /** Invocations in all. */
  threads: number;
}

/**
 * Sizes a dispatch over rows.
 *
 * @param gpu The device.
 * @param rows Number of rows.
 * @param lanes Invocations that share a row, a power of two. Default: 1 on a software adapter, a workgroup elsewhere.
 * @returns Constants and invocations for {@linkcode Gpu.run}.
 */
export function lanesFor(
  gpu: Gpu,
  rows: number,
  lanes: number = gpu.adapter.software ? 1 : GPU_LANES,
): RowLanes {
  return {
    constants: { LANES: lanes, THREADS: Math.max(lanes, gpu.threads) },
    threads: rows * lanes,
  };
}

/** The limit on loop iterations of software adapters, which no kernel may pass. @module */

import type { Gpu } from "./gpu.ts";

/**
 * Most iterations of all loops of one invocation together. Mesa's llvmpipe ends every loop, without an error, after 65,535 iterations
 * (`LP_MAX_TGSI_LOOP_ITERATIONS`); the rest is for the loops that do not grow with a tensor.
 */
export const MOST_ITERATIONS = 60000;

/**
 * Refuses what a software adapter would compute wrongly without an error.
 *
 * @param gpu The device; GPUs have no limit.
 * @param operation Named in the error.
 * @param iterations Loop iterations of one invocation.
 * @throws {RangeError} If the adapter is a software adapter and would end the loops early.
 */
export function requireIterations(gpu: Gpu, operation: string, iterations: number): void {
  if (gpu.adapter.software && iterations > MOST_ITERATIONS) {
    throw new RangeError(
      `Cannot run ${operation} on a software adapter: expected at most ${MOST_ITERATIONS} loop iterations of an invocation, found ${
        Math.ceil(iterations)
      }`,
    );
  }
}

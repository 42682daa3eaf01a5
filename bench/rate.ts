/** Measures the rate of recorded GPU work. @module */

import { cpuUsage } from "node:process";
import type { Gpu } from "../kernels/gpu.ts";
import type { Slice } from "../kernels/slice.ts";

/** What {@linkcode measureRate} found. */
export interface Rate {
  /** Billions of operations a second of wall time, best of the batches. */
  gflops: number;
  /** The same a second of processor time times the processors: what a quiet software adapter would reach, whatever else runs. */
  quietGflops: number;
  /** Duration of the first run, compilation included, in milliseconds. */
  firstMs: number;
}

/** Each batch does about this many operations, so that the wait at its end weighs little. */
const BATCH_OPERATIONS = 4e9;
const BATCHES = 3;

/**
 * Measures how fast work runs, many repetitions a wait.
 *
 * @param gpu The device.
 * @param operations Floating-point operations of one repetition.
 * @param record Records one repetition.
 * @returns The rates.
 */
export async function measureRate(
  gpu: Gpu,
  operations: number,
  record: () => void,
): Promise<Rate> {
  const start = performance.now();
  record();
  await gpu.settle();
  const firstMs = performance.now() - start;
  const repetitions = Math.max(2, Math.min(400, Math.ceil(BATCH_OPERATIONS / operations)));
  let wallMs = Infinity;
  let processorMs = Infinity;
  for (let batch = 0; batch < BATCHES; batch++) {
    const begin = performance.now();
    const before = cpuUsage();
    for (let i = 0; i < repetitions; i++) record();
    await gpu.settle();
    wallMs = Math.min(wallMs, performance.now() - begin);
    const { user, system } = cpuUsage(before);
    processorMs = Math.min(processorMs, (user + system) / 1000);
  }
  const total = operations * repetitions / 1e6;
  return {
    gflops: total / wallMs,
    quietGflops: total / processorMs * navigator.hardwareConcurrency,
    firstMs,
  };
}

/**
 * Prints a line of a table of rates.
 *
 * @param name What ran.
 * @param rate How fast.
 */
export function printRate(name: string, { gflops, quietGflops, firstMs }: Rate): void {
  console.log(
    `${name.padEnd(44)} ${gflops.toFixed(1).padStart(7)} GFLOP/s  ${
      quietGflops.toFixed(1).padStart(7)
    } by processor time  first ${firstMs.toFixed(0).padStart(5)} ms`,
  );
}

/**
 * Takes a buffer of small numbers.
 *
 * @param gpu The device.
 * @param count How many.
 * @returns The slice.
 */
export function acquireNumbers(gpu: Gpu, count: number): Slice {
  const slice = gpu.acquire(4 * count);
  gpu.upload(slice, Float32Array.from({ length: count }, (_, i) => (i * 7 % 13) / 13 - 0.5));
  return slice;
}

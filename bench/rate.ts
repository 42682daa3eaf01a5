/** Measures the rate of recorded GPU work. @module */

import { cpuUsage } from "node:process";
import type { Gpu } from "../kernels/gpu.ts";
import type { Slice } from "../kernels/slice.ts";

/** What {@linkcode measureTime} found. */
export interface Time {
  /** Wall time of one repetition in milliseconds, best of the batches. */
  ms: number;
  /** Processor time of one repetition in milliseconds, best of the batches. */
  processorMs: number;
  /** Duration of the first run, compilation included, in milliseconds. */
  firstMs: number;
}

/** What {@linkcode measureRate} found. */
export interface Rate extends Time {
  /** Billions of operations a second of wall time, best of the batches. */
  gflops: number;
  /** The same a second of processor time times the processors: what a quiet software adapter would reach, whatever else runs. */
  quietGflops: number;
}

/** Each batch takes about this long in milliseconds, so that the wait at its end, 10 in Deno, weighs little. */
export const BATCH_MS = 150;
/** At most so many repetitions make a batch. */
export const MOST_REPETITIONS = 8192;
const BATCHES = 3;

/**
 * Measures how long work takes, many repetitions a wait.
 *
 * @param gpu The device.
 * @param record Records one repetition.
 * @returns The times.
 */
export async function measureTime(gpu: Gpu, record: () => void): Promise<Time> {
  const run = async (repetitions: number): Promise<{ ms: number; processorMs: number }> => {
    const begin = performance.now();
    const before = cpuUsage();
    for (let i = 0; i < repetitions; i++) record();
    await gpu.settle();
    const { user, system } = cpuUsage(before);
    return {
      ms: (performance.now() - begin) / repetitions,
      processorMs: (user + system) / 1000 / repetitions,
    };
  };
  const { ms: firstMs } = await run(1);
  let repetitions = 2;
  let trial = await run(repetitions);
  for (;;) {
    const batch = trial.ms * repetitions;
    if (batch >= 0.8 * BATCH_MS || repetitions === MOST_REPETITIONS) break;
    repetitions = moreRepetitions(repetitions, batch);
    trial = await run(repetitions);
  }
  const best = { ...trial, firstMs };
  for (let batch = 0; batch < BATCHES; batch++) {
    const { ms, processorMs } = await run(repetitions);
    best.ms = Math.min(best.ms, ms);
    best.processorMs = Math.min(best.processorMs, processorMs);
  }
  return best;
}

/**
 * Brings a batch closer to its length.
 *
 * @param repetitions Of the last batch.
 * @param batchMs How long it took.
 * @returns Of the next batch.
 */
export function moreRepetitions(repetitions: number, batchMs: number): number {
  // Below three waits the wait itself is most of the time.
  const growth = batchMs < 30 ? 8 : BATCH_MS / batchMs;
  return Math.min(MOST_REPETITIONS, Math.ceil(repetitions * growth));
}

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
  const time = await measureTime(gpu, record);
  return {
    ...time,
    gflops: operations / 1e6 / time.ms,
    quietGflops: operations / 1e6 / time.processorMs * navigator.hardwareConcurrency,
  };
}

/** The passes of an op that all do the same number of operations. */
export interface Passes extends Disposable {
  /** The op and its sizes. */
  readonly name: string;
  /** Floating-point operations of each pass. */
  readonly operations: number;
  /** Records one repetition of a pass. */
  readonly record: Readonly<Record<string, () => void>>;
}

/**
 * Measures passes and prints a line for each.
 *
 * @param gpu The device.
 * @param passes What runs.
 */
export async function printPasses(gpu: Gpu, passes: Passes): Promise<void> {
  for (const [pass, record] of Object.entries(passes.record)) {
    const { gflops, quietGflops, firstMs } = await measureRate(gpu, passes.operations, record);
    console.log(
      `${`${passes.name} ${pass}`.padEnd(44)} ${gflops.toFixed(1).padStart(7)} GFLOP/s  ${
        quietGflops.toFixed(1).padStart(7)
      } by processor time  first ${firstMs.toFixed(0).padStart(5)} ms`,
    );
  }
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

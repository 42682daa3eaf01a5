/** What a run of the bench found, and the file that keeps it. @module */

import { CASES } from "./cases.ts";
import type { Row } from "./compare.ts";
import type { Peaks } from "../kernels/peaks.ts";
import type { Hello } from "./protocol.ts";

/** A line of the table of the default training's ops. */
export interface WorkloadRow {
  /** The op and its sizes. */
  readonly name: string;
  /** Milliseconds of a repetition, best of the batches. */
  readonly ms: number;
  /** Billions of operations or of bytes a second. */
  readonly rate: number;
  /** Unit of the rate. */
  readonly unit: "GFLOP/s" | "GB/s";
}

/** Everything that a run found. */
export interface Results {
  /** The adapter. */
  readonly adapter: string;
  /** Processors and system. */
  readonly machine: string;
  /** What the adapter reaches at best. */
  readonly peaks: Peaks;
  /** The programs that were compared. */
  readonly subjects: readonly Hello[];
  /** Why programs that were asked for are missing. */
  readonly absent: Readonly<Record<string, string>>;
  /** The comparison, in the order of the cases. */
  readonly rows: readonly Row[];
  /** The ops of the default training. */
  readonly workloads: readonly WorkloadRow[];
}

/**
 * Describes the machine.
 *
 * @returns Processors, system and runtime.
 */
export async function describeMachine(): Promise<string> {
  let model = Deno.build.arch as string;
  try {
    const text = await Deno.readTextFile("/proc/cpuinfo");
    model = /model name\s*:\s*(.*)/.exec(text)?.[1] ?? model;
  } catch {
    // Only Linux has it.
  }
  return `${navigator.hardwareConcurrency} processors (${model}), ${Deno.build.os}, Deno ${Deno.version.deno}`;
}

/**
 * Reads the results of an earlier run.
 *
 * @param file The file.
 * @returns The results, or undefined if there is no such file.
 */
export async function readResults(file: string): Promise<Results | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** A peak is the best that was ever measured: a busy machine only lowers it. */
function bestPeaks(a: Peaks, b: Peaks): Peaks {
  return {
    gflops: Math.max(a.gflops, b.gflops),
    gigabytes: Math.max(a.gigabytes, b.gigabytes),
    readGigabytes: Math.max(a.readGigabytes, b.readGigabytes),
  };
}

/**
 * Puts new lines in the place of old ones, so that a part of the table can be measured again. Results of another adapter are dropped.
 *
 * @param earlier What a file has.
 * @param now What this run found.
 * @returns Both; where both have a line, the new one.
 */
export function mergeResults(earlier: Results | undefined, now: Results): Results {
  if (earlier?.adapter !== now.adapter) return now;
  const byName = <Value extends { name: string }>(
    old: readonly Value[],
    fresh: readonly Value[],
  ): Value[] => [...new Map([...old, ...fresh].map((value) => [value.name, value])).values()];
  const rows = new Map([...earlier.rows, ...now.rows].map((row) => [row.case.name, row]));
  return {
    ...now,
    peaks: bestPeaks(earlier.peaks, now.peaks),
    subjects: byName(earlier.subjects, now.subjects),
    rows: CASES.flatMap(({ name }) => rows.get(name) ?? []),
    workloads: byName(earlier.workloads, now.workloads),
  };
}

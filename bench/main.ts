/**
 * Times the ops of the default training on this adapter: `deno task bench [NAMES]`.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { Gpu } from "../kernels/gpu.ts";
import { measurePeaks, type Peaks } from "./peaks.ts";
import { measureTime } from "./rate.ts";
import { type Workload, workloadGroups } from "./workloads.ts";

const HELP = `Times the ops of the default training on this adapter, many dispatches a wait.

Usage: deno task bench [NAMES]

  NAMES    only ops whose name has one of these texts in it, such as conv or linear
  --help   show this text

Prints milliseconds, rate, and the share of the adapter's own peak that this is: of multiply-adds in
registers, or of copies. Both are measured first, in the same run.`;

const NAME_WIDTH = 58;

/** A line of the table. */
function format({ name, work }: Workload, ms: number, peaks: Peaks): string {
  const [rate, unit, peak] = "operations" in work
    ? [work.operations / 1e6 / ms, "GFLOP/s", peaks.gflops]
    : [work.bytes / 1e6 / ms, "GB/s", peaks.gigabytes];
  return `${name.padEnd(NAME_WIDTH)} ${ms.toFixed(2).padStart(8)} ms ${
    rate.toFixed(1).padStart(8)
  } ${unit.padEnd(7)} ${(100 * rate / peak).toFixed(0).padStart(4)} %`;
}

/** Measures and prints. */
async function bench(wanted: readonly string[]): Promise<void> {
  using gpu = await Gpu.open();
  const peaks = await measurePeaks(gpu);
  console.log(
    `${gpu.adapter.name}: ${peaks.gflops.toFixed(0)} GFLOP/s of multiply-adds, ` +
      `${peaks.gigabytes.toFixed(1)} GB/s of copies`,
  );
  for (const group of workloadGroups(gpu)) {
    using _group = group;
    for (const workload of group.workloads) {
      if (wanted.length > 0 && !wanted.some((text) => workload.name.includes(text))) continue;
      const { ms } = await measureTime(gpu, workload.record);
      console.log(format(workload, ms, peaks));
    }
  }
}

if (import.meta.main) {
  const { help, _: wanted } = parseArgs(Deno.args, { boolean: ["help"], alias: { help: "h" } });
  if (help) console.log(HELP);
  else await bench(wanted.map(String));
}

/** A profile as a table, and as a file for chrome://tracing or Perfetto. @module */

import type { Profile } from "../kernels/gpu.ts";
import type { Peaks } from "../kernels/peaks.ts";
import { TRANSFER } from "../kernels/profiler.ts";

/** What a table names beside the profile. */
export interface ProfileContext {
  /** Name of the adapter. */
  readonly adapter: string;
  /** Its best rates. */
  readonly peaks: Peaks;
  /** Steps, or batches, that were measured. */
  readonly steps: number;
}

/** Sums over the dispatches of one entry point, or the transfers of one kind. */
interface Row {
  readonly operation: string;
  calls: number;
  ms: number;
  bytes: number;
  operations: number | undefined;
}

const HEADINGS = [
  "kernel.entry_point",
  ...["calls", "ms", "share", "ms/call", "GFLOP/s", "of peak", "GB/s", "of peak"],
];

/**
 * Shows time and rates of each entry point and kind of transfer, longest first, and what the host did.
 *
 * Rates of bytes count everything that is bound, once, where a launcher says nothing better.
 *
 * @param profile The profile.
 * @param context Adapter and peaks.
 * @returns Lines of a table.
 */
export function profileTable(profile: Profile, context: ProfileContext): string {
  const { peaks, adapter, steps } = context;
  const rows = rowsOf(profile);
  const busyMs = rows.reduce((sum, { ms }) => sum + ms, 0);
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const cells = rows.map(({ operation, calls, ms, bytes, operations }) => {
    const gflops = operations === undefined ? undefined : operations / 1e6 / ms;
    const gigabytes = bytes / 1e6 / ms;
    return [
      operation,
      String(calls),
      ms.toFixed(2),
      percent(busyMs > 0 ? ms / busyMs : 0),
      (ms / calls).toFixed(3),
      gflops?.toFixed(1) ?? "",
      gflops === undefined ? "" : percent(gflops / peaks.gflops),
      gigabytes.toFixed(2),
      percent(gigabytes / peaks.gigabytes),
    ];
  });
  const { counts, wallMs } = profile;
  const host = (activity: string): string => {
    const ms = profile.spans.filter((span) => span.activity === activity)
      .reduce((sum, span) => sum + span.durationMs, 0);
    return `${activity} ${ms.toFixed(1)} ms`;
  };
  const bound = rows.reduce(
    (sum, { bytes, operation }) => operation.startsWith(TRANSFER) ? sum : sum + bytes,
    0,
  );
  const idleMs = Math.max(0, wallMs - busyMs);
  return [
    `${adapter}: peaks ${peaks.gflops.toFixed(1)} GFLOP/s of multiply-adds, ${
      peaks.gigabytes.toFixed(1)
    } GB/s of a copying kernel`,
    ...align([HEADINGS, ...cells]),
    `device: ${busyMs.toFixed(1)} of ${wallMs.toFixed(1)} ms busy, ${
      percent(wallMs > 0 ? idleMs / wallMs : 0)
    } with commands or waiting for the host`,
    `host: ${["record", "submit", "wait"].map(host).join(", ")}`,
    `counts of ${steps} ${
      steps === 1 ? "step" : "steps"
    }: ${counts.dispatches} dispatches, ${counts.submits} submits, ${counts.pipelines} new pipelines`,
    `moved: ${mebibytes(bound)} bound to kernels, ${mebibytes(counts.copiedBytes)} copied, ${
      mebibytes(counts.uploadedBytes)
    } uploaded, ${mebibytes(counts.readBytes)} read back`,
  ].join("\n");
}

/**
 * Writes a profile in the format of Chrome's tracing.
 *
 * @param profile The profile.
 * @param context Adapter and peaks.
 * @returns JSON text: a track of the device's dispatches and one of the host's spans.
 * @see https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, "Trace Event Format".
 */
export function chromeTrace(profile: Profile, { adapter, peaks, steps }: ProfileContext): string {
  const named = (name: string, tid: number, text: string): object => ({
    name,
    ph: "M",
    pid: 1,
    tid,
    args: { name: text },
  });
  const microseconds = (ms: number): number => Math.round(1e6 * ms) / 1e3;
  const events = [
    named("process_name", 1, "tessera"),
    named("thread_name", 1, `device: ${adapter}`),
    named("thread_name", 2, "host"),
    ...profile.dispatches.map(({ operation, beginMs, durationMs, operations, bytes }) => ({
      name: operation,
      cat: operation.startsWith(TRANSFER) ? "transfer" : "kernel",
      ph: "X",
      pid: 1,
      tid: 1,
      ts: microseconds(beginMs),
      dur: microseconds(durationMs),
      args: { bytes, ...(operations !== undefined && { operations }) },
    })),
    ...profile.spans.map(({ activity, beginMs, durationMs }) => ({
      name: activity,
      cat: "host",
      ph: "X",
      pid: 1,
      tid: 2,
      ts: microseconds(beginMs),
      dur: microseconds(durationMs),
    })),
  ];
  const otherData = { adapter, steps, ...peaks, wallMs: profile.wallMs, ...profile.counts };
  return JSON.stringify({ traceEvents: events, displayTimeUnit: "ms", otherData });
}

function rowsOf({ dispatches }: Profile): Row[] {
  const rows = new Map<string, Row>();
  for (const { operation, durationMs, bytes, operations } of dispatches) {
    let row = rows.get(operation);
    if (!row) {
      rows.set(operation, row = { operation, calls: 0, ms: 0, bytes: 0, operations: undefined });
    }
    row.calls++;
    row.ms += durationMs;
    row.bytes += bytes;
    if (operations !== undefined) row.operations = (row.operations ?? 0) + operations;
  }
  return [...rows.values()].sort((a, b) => b.ms - a.ms);
}

/** The first column to the left, the others to the right. */
function align(rows: readonly (readonly string[])[]): string[] {
  const widths = HEADINGS.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))
      .join("  ").trimEnd()
  );
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

import { assertEquals } from "@std/assert";
import type { Profile } from "../kernels/gpu.ts";
import { chromeTrace, profileTable } from "./profile_report.ts";

const PROFILE: Profile = {
  wallMs: 10,
  dispatches: [
    { operation: "matmul.matmul", beginMs: 101, durationMs: 1, operations: 4e6, bytes: 1e6 },
    { operation: "reduce.sum", beginMs: 102, durationMs: 3, operations: undefined, bytes: 6e6 },
    { operation: "matmul.matmul", beginMs: 105, durationMs: 4, operations: 16e6, bytes: 4e6 },
  ],
  spans: [
    { activity: "record", beginMs: 100, durationMs: 0.5 },
    { activity: "submit", beginMs: 100.5, durationMs: 0.25 },
    { activity: "wait", beginMs: 100.75, durationMs: 8.5 },
  ],
  counts: {
    dispatches: 3,
    submits: 1,
    pipelines: 2,
    copiedBytes: 2 ** 20,
    uploadedBytes: 2 ** 19,
    readBytes: 0,
  },
};
const CONTEXT = { adapter: "test", peaks: { gflops: 8, gigabytes: 4, readGigabytes: 5 }, steps: 1 };

Deno.test("profileTable() adds up the dispatches of an entry point and compares with the peaks", () => {
  assertEquals(
    profileTable(PROFILE, CONTEXT),
    `test: peaks 8.0 GFLOP/s of multiply-adds, 4.0 GB/s of a copying kernel
kernel.entry_point  calls    ms   share  ms/call  GFLOP/s  of peak  GB/s  of peak
matmul.matmul           2  5.00  62.5 %    2.500      4.0   50.0 %  1.00   25.0 %
reduce.sum              1  3.00  37.5 %    3.000                    2.00   50.0 %
device: 8.0 of 10.0 ms busy, 20.0 % with commands or waiting for the host
host: record 0.5 ms, submit 0.3 ms, wait 8.5 ms
counts of 1 step: 3 dispatches, 1 submits, 2 new pipelines
moved: 10.5 MiB bound to kernels, 1.0 MiB copied, 0.5 MiB uploaded, 0.0 MiB read back`,
  );
});

Deno.test("chromeTrace() has a track of dispatches and one of the host, in microseconds", () => {
  const { traceEvents, otherData } = JSON.parse(chromeTrace(PROFILE, CONTEXT));
  const complete = traceEvents.filter(({ ph }: { ph: string }) => ph === "X");
  assertEquals(complete.length, 6);
  assertEquals(complete[0], {
    name: "matmul.matmul",
    cat: "kernel",
    ph: "X",
    pid: 1,
    tid: 1,
    ts: 101000,
    dur: 1000,
    args: { bytes: 1e6, operations: 4e6 },
  });
  assertEquals(complete[1].args, { bytes: 6e6 });
  assertEquals(complete[5], {
    name: "wait",
    cat: "host",
    ph: "X",
    pid: 1,
    tid: 2,
    ts: 100750,
    dur: 8500,
  });
  assertEquals([otherData.dispatches, otherData.gflops, otherData.adapter], [3, 8, "test"]);
});

Deno.test("profileTable() of nothing has headings and zeros", () => {
  const empty = { ...PROFILE, dispatches: [], spans: [], wallMs: 0 };
  const lines = profileTable(empty, { ...CONTEXT, steps: 2 }).split("\n");
  assertEquals(lines.length, 6);
  assertEquals(lines[2]!.startsWith("device: 0.0 of 0.0 ms busy, 0.0 %"), true);
  assertEquals(lines[4]!.startsWith("counts of 2 steps"), true);
});

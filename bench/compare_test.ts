/** Tests of the bench: that subjects which are wrong, fail, end or never answer are reported, and that reports keep them. @module */

import { assert, assertEquals } from "@std/assert";
import { type Case, CASES } from "./cases.ts";
import { Comparison, median, OURS, type Row } from "./compare.ts";
import { difference, TOLERANCES } from "./equality.ts";
import { permuteAxes, randomNumbers } from "./numbers.ts";
import { markdown, rowText, writeMarkdown } from "./report.ts";
import { mergeResults, type Results } from "./results.ts";
import type { SubjectCommand } from "./subject_process.ts";

const CASE: Case = {
  name: "sum 3",
  operation: { kind: "sum", length: 3 },
  work: { bytes: 12 },
  against: "peers",
};
const needed = await Promise.all(
  (["run", "read", "write"] as const).map((name) => Deno.permissions.query({ name })),
);
const ignore = needed.some(({ state }) => state !== "granted");
const PEAKS = { gflops: 10, gigabytes: 1, readGigabytes: 1 };

function fake(name: string, behavior: string): SubjectCommand {
  const file = new URL("./fake_subject.ts", import.meta.url).pathname;
  return { name, program: Deno.execPath(), args: ["run", "-A", file, behavior], hint: "none" };
}

/** Runs the case by the engine's stand-in and by others. */
async function compare(behaviors: readonly string[], limitMs = 60_000): Promise<Row> {
  const folder = await Deno.makeTempDir();
  try {
    const commands = [fake(OURS, "right"), ...behaviors.map((name) => fake(name, name))];
    await using comparison = await Comparison.start(commands, { rounds: 3, folder, limitMs });
    return await comparison.run(CASE, new Set(behaviors));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function outcomes({ measurements }: Row): Record<string, string> {
  return Object.fromEntries(
    Object.entries(measurements).map(([name, measurement]) => [
      name,
      "ms" in measurement ? `${measurement.rounds} rounds` : measurement.reason,
    ]),
  );
}

const wrong = "Comparison.run() times equal subjects and says what is wrong with the others";
Deno.test({
  name: wrong,
  ignore,
  fn: async () => {
    const behaviors = ["right", "wrong", "not finite", "failing", "unsupported", "ending"];
    const row = await compare(behaviors);
    const { ending, ...reasons } = outcomes(row);
    assertEquals(reasons, {
      [OURS]: "3 rounds",
      right: "3 rounds",
      wrong: "result differs: element 1 is 2.5, ours 2 (largest 3.00, tolerance LONG_SUM = 0.001)",
      "not finite":
        "result differs: element 2 is NaN, ours 3 (largest 3.00, tolerance LONG_SUM = 0.001)",
      failing: "no such device",
      unsupported: "has no gradients",
    });
    assert(ending?.startsWith("the process ended (code 3)"), ending);
    const ours = row.measurements[OURS];
    assert(ours && "ms" in ours && ours.ratio === 1 && ours.processorRatio === 1);
  },
});

Deno.test({
  name: "Comparison.run() ends a subject that does not answer",
  ignore,
  fn: async () => {
    const { silent } = outcomes(await compare(["silent"], 1));
    assert(silent?.startsWith("no result within"), silent);
  },
});

const absent = "Comparison.start() lists subjects that do not start";
Deno.test({
  name: absent,
  ignore,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const missing = { ...fake("missing", "right"), program: `${folder}/none` };
      await using comparison = await Comparison.start([fake(OURS, "right"), missing], {
        rounds: 1,
        folder,
      });
      assertEquals(Object.keys(comparison.absent), ["missing"]);
      assertEquals(comparison.subjects.map(({ name }) => name), [OURS]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("difference() allows a share of the largest number", () => {
  const expected = Float32Array.of(0, 100);
  const share = 100 * TOLERANCES.KERNEL;
  assertEquals(difference(Float32Array.of(0.9 * share, 100), expected, "KERNEL"), undefined);
  assert(difference(Float32Array.of(1.1 * share, 100), expected, "KERNEL"));
  assert(difference(Float32Array.of(NaN, 100), expected, "KERNEL"));
  assertEquals(
    difference(Float32Array.of(1), expected, "KERNEL"),
    "expected 2 numbers, found 1",
  );
});

Deno.test("permuteAxes() reads along the named axes", () => {
  const shape = [2, 3, 4, 5], axes = [3, 2, 0, 1];
  const data = randomNumbers(120, 1);
  const permuted = permuteAxes(data, shape, axes);
  // Element (l, k, i, j) of the result is element (i, j, k, l).
  assertEquals(permuted[((2 * 4 + 3) * 2 + 1) * 3 + 2], data[((1 * 3 + 2) * 4 + 3) * 5 + 2]);
  const back = permuteAxes(permuted, axes.map((axis) => shape[axis]!), [2, 3, 1, 0]);
  assertEquals(back, data);
});

Deno.test("median() takes the middle one", () => {
  assertEquals(median([5, 1, 3]), 3);
  assertEquals(median([4, 1, 3, 2]), 2);
});

function results(rows: Row[], adapter = "a"): Results {
  const subjects = [{ name: OURS, version: "1", adapter }];
  return { adapter, machine: "m", peaks: PEAKS, subjects, absent: {}, rows, workloads: [] };
}

function row(index: number, ms: number): Row {
  const timed = { ms, processorMs: ms, firstMs: ms, rounds: 5 };
  return {
    case: CASES[index]!,
    tolerance: "KERNEL",
    measurements: {
      [OURS]: { ...timed, ratio: 1, processorRatio: 1 },
      "tfjs webgpu": { ...timed, ratio: 4, processorRatio: 5 },
      "jax-js webgpu": { ...timed, ratio: 3, processorRatio: 6 },
      "jax-js wasm": { ...timed, ratio: 0.5, processorRatio: 0.5 },
      "onnxruntime-web webgpu": { reason: "has <no> gradients" },
    },
    date: "2026-01-01T00:00:00.000Z",
  };
}

Deno.test("mergeResults() replaces lines of the same adapter, in the order of the cases", () => {
  const earlier = results([row(0, 1), row(2, 1)]);
  const now = results([row(1, 2), row(0, 2)]);
  const merged = mergeResults(earlier, now).rows.map(({ case: { name }, measurements }) => {
    const ours = measurements[OURS];
    return [name, ours && "ms" in ours ? ours.ms : NaN];
  });
  assertEquals(merged, [[CASES[0]!.name, 2], [CASES[1]!.name, 2], [CASES[2]!.name, 1]]);
  const better = { ...earlier, peaks: { ...PEAKS, gflops: 20 } };
  assertEquals(mergeResults(better, now).peaks, { ...PEAKS, gflops: 20 });
  assertEquals(mergeResults(results([row(2, 1)], "b"), now), now);
  assertEquals(mergeResults(undefined, now), now);
});

Deno.test("markdown() takes the best WebGPU peer and gives reasons for missing numbers", () => {
  const text = markdown(results([row(0, 100)]));
  const line = text.split("\n").find((each) => each.startsWith(`| ${CASES[0]!.name}`))!;
  const cells = line.split("|").map((cell) => cell.trim()).slice(2, -1);
  assertEquals(cells, [
    "100 ms",
    "21.5 GFLOP/s, 215 %",
    "3.00x (6.00x)",
    "4.00x",
    "3.00x",
    "- (1)",
    "0.500x",
  ]);
  assert(text.includes("1. has \\<no\\> gradients"), text);
  assert(rowText(row(0, 100), PEAKS).includes("- has <no> gradients"));
});

Deno.test({
  name: "writeMarkdown() replaces what is between its markers",
  ignore,
  fn: async () => {
    const file = await Deno.makeTempFile({ suffix: ".md" });
    try {
      const [begin, end] = ["<!-- bench: begin -->", "<!-- bench: end -->"];
      await Deno.writeTextFile(file, `# Title\n\n${begin}\nold\n${end}\n\nAfter\n`);
      await writeMarkdown(file, "new");
      const text = await Deno.readTextFile(file);
      assertEquals(text, `# Title\n\n${begin}\n\nnew\n\n${end}\n\nAfter\n`);
    } finally {
      await Deno.remove(file);
    }
  },
});

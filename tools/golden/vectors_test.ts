import { assert, assertEquals } from "@std/assert";
import { encodeSafetensors, SafetensorsReader } from "../../train/files/safetensors.ts";
import { tolerancesOf } from "./tolerances.ts";
import { type CompareOptions, type GroupResult, VectorFile } from "./vectors.ts";

/** Each tensor's tolerance is 10 · 1e-3 + 2e-6 · 100 = 0.0102, but for the analytic zero's. */
const TOLERANCES = tolerancesOf({
  file: {
    x: { max_abs: 1e-3, scale: 100 },
    noise: { max_abs: 1e-9, scale: 1e-17 },
  },
}, "tolerances").get("file")!;

async function openFile(): Promise<VectorFile> {
  const bytes = await encodeSafetensors([
    { name: "x", dtype: "F32", shape: [3], data: Float32Array.of(100, -Infinity, 0) },
    { name: "noise", dtype: "F32", shape: [2], data: Float32Array.of(1e-9, -2e-9) },
    { name: "exact", dtype: "F32", shape: [1], data: Float32Array.of(50) },
    { name: "codes", dtype: "I32", shape: [2], data: Int32Array.of(1, 2) },
    { name: "INFO.note", dtype: "F32", shape: [1], data: Float32Array.of(1) },
  ], { metadata: { config: "{}" } });
  return new VectorFile(await SafetensorsReader.fromBytes(bytes), TOLERANCES);
}

/** Compares one tensor and gives its line of the report. */
async function compare(
  name: string,
  found: number[],
  options: CompareOptions = {},
): Promise<GroupResult> {
  using file = await openFile();
  await file.compare(name, found, options);
  return file.finish()[0]!;
}

Deno.test("VectorFile.compare() accepts what is within the tolerance", async () => {
  assert((await compare("x", [100.01, -Infinity, -0.01])).passed);
  assert((await compare("noise", [-9e-7, 9e-7])).passed);
  assert((await compare("exact", [50.00005])).passed);
  assert((await compare("codes", [1, 2])).passed);
  assert((await compare("x", [100, 7, 0], { only: (index) => index !== 1 })).passed);
});

Deno.test("VectorFile.compare() fails what is not", async () => {
  assert(!(await compare("x", [100.02, -Infinity, 0])).passed);
  assert(!(await compare("x", [100, 0, 0])).passed, "a finite number in place of an infinite one");
  assert(!(await compare("x", [100, -Infinity, NaN])).passed, "NaN");
  assert(!(await compare("noise", [2e-6, 0])).passed);
  assert(!(await compare("exact", [50.001])).passed);
  assert(!(await compare("codes", [1, 3])).passed);
});

Deno.test("VectorFile.compare() fails numbers that are too few or too many", async () => {
  assertEquals(
    (await compare("codes", [1])).problem,
    "codes: expected 2 numbers, found 1",
  );
  assertEquals((await compare("codes", [1, 2, 3])).passed, false);
});

Deno.test("VectorFile reports the tensor of a group that is furthest off", async () => {
  using file = await openFile();
  await file.compare("x", [100.1, -Infinity, 0], { group: "all" });
  await file.compare("exact", [50], { group: "all" });
  const [group] = file.finish();
  assertEquals(group?.passed, false);
  assert(Math.abs(group!.error - 0.1) < 1e-5 && Math.abs(group!.tolerance - 0.0102) < 1e-9);
});

Deno.test("VectorFile fails tensors that nothing looked at, but those for information", async () => {
  using file = await openFile();
  await file.input("x");
  await file.compare("codes", [1, 2]);
  file.skip("exact");
  const forgotten = file.finish().at(-1);
  assertEquals(forgotten?.passed, false);
  assertEquals(forgotten?.problem, "1: noise");
});

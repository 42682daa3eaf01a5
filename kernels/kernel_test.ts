import { assertEquals, assertThrows } from "@std/assert";
import { defineKernel, kernelFor } from "./kernel.ts";
import type { Slice } from "./slice.ts";

const SHARED = `override THREADS: u32 = 64; // override COMMENT: u32;`;
const SOURCE = `struct Params {
  rows: u32, // @binding(9) var<storage, read> comment: array<f32>;
  shift: i32,
  eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> packed: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
override LANES = 2u;
fn inner(i: u32) -> f32 { return x[i]; }
fn helper(y: f32) -> f32 { let packed = vec2f(y); return packed.y + inner(0u); }
@compute @workgroup_size(THREADS) fn forward() { { y[0] = helper(params.eps); } }
@compute @workgroup_size(8, 8)
fn backward() {}`;

Deno.test("defineKernel() reads bindings, parameters, overrides and entry points", () => {
  const kernel = defineKernel("norm", SHARED, SOURCE);
  assertEquals([...kernel.bindings], [
    ["x", { binding: 1, writable: false, width: "full" }],
    ["packed", { binding: 1, writable: false, width: "full" }],
    ["y", { binding: 2, writable: true, width: "full" }],
  ]);
  assertEquals([...kernel.fields], [
    ["rows", { offset: 0, type: "u32" }],
    ["shift", { offset: 4, type: "i32" }],
    ["eps", { offset: 8, type: "f32" }],
  ]);
  assertEquals(kernel.paramsBinding, 0);
  assertEquals([...kernel.overrides], ["THREADS", "LANES"]);
  assertEquals([...kernel.entryPoints.keys()], ["forward", "backward"]);
  assertEquals([...kernel.entryPoints.get("forward")!], ["x", "y"]);
  assertEquals([...kernel.entryPoints.get("backward")!], []);
  assertEquals(kernel.source, `${SHARED}\n${SOURCE}`);
});

Deno.test("defineKernel() needs neither parameters nor bindings", () => {
  const kernel = defineKernel("nothing", "@compute @workgroup_size(1) fn main() {}");
  assertEquals([kernel.paramsBinding, kernel.fields.size, kernel.bindings.size], [-1, 0, 0]);
});

Deno.test("defineKernel() rejects fields that are no scalars and texts without an entry point", () => {
  assertThrows(
    () => defineKernel("norm", SOURCE.replace("eps: f32", "eps: vec4f")),
    SyntaxError,
    'Cannot read Params of kernel norm: expected "name: u32 | i32 | f32", found "eps: vec4f"',
  );
  assertThrows(
    () => defineKernel("norm", "fn helper() {}"),
    SyntaxError,
    "Cannot define kernel norm: expected a @compute @workgroup_size(…) fn, found none",
  );
});

const STORED = `
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;
@compute @workgroup_size(1) fn forward() { y[0] = Stored(f32(x[0]) * scale[0]); }`;

Deno.test("kernelFor() chooses the text by the width of what is bound", () => {
  const kernel = defineKernel("stored", STORED);
  const [full, half] = [false, true].map((half) => (
    { buffer: {} as GPUBuffer, offsetBytes: 0, bytes: 8, half }
  )) as [Slice, Slice];
  assertEquals(kernelFor(kernel, "forward", { x: full, scale: full, y: full }), kernel);
  const twin = kernelFor(kernel, "forward", { x: half, scale: full, y: half });
  assertEquals([kernel.needsHalf, twin.needsHalf], [false, true]);
  assertThrows(
    () => kernelFor(kernel, "forward", { x: half, scale: full, y: full }),
    TypeError,
    "expected y of f16 elements like x, found 32-bit ones",
  );
  assertThrows(
    () => kernelFor(kernel, "forward", { x: half, scale: half, y: half }),
    TypeError,
    "expected scale of 32-bit elements, found f16",
  );
});

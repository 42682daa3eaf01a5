import { assert, assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import common from "./common.wgsl" with { type: "text" };
import { defineKernel } from "./kernel.ts";
import special from "./special.wgsl" with { type: "text" };

/** erf by its Taylor series in double precision, exact enough for |x| up to 4. */
function erf(x: number): number {
  let sum = 0;
  let term = x;
  for (let n = 0; n < 120; n++) {
    sum += term / (2 * n + 1);
    term *= -x * x / (n + 1);
  }
  return 2 / Math.sqrt(Math.PI) * sum;
}

const cases: [name: string, exact: (x: number) => number, low: number, high: number][] = [
  ["preciseExp", Math.exp, -87, 88],
  ["preciseExp", Math.exp, -1, 1],
  ["expOfNegative", Math.exp, -87, 0],
  ["preciseLog", Math.log, 1e-6, 100],
  ["preciseLog", Math.log, 0.999, 1.001],
  ["preciseLogOnePlus", Math.log1p, 0, 1],
  ["preciseTanh", Math.tanh, -9, 9],
  ["preciseTanh", Math.tanh, -0.01, 0.01],
  ["preciseErf", erf, -3.9, 3.9],
  ["preciseErf", erf, -0.01, 0.01],
  ["sigmoid", (x) => 1 / (1 + Math.exp(-x)), -80, 20],
];

function kernelOf(name: string): ReturnType<typeof defineKernel> {
  return defineKernel(
    name,
    common,
    special,
    `struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { x[i] = ${name}(x[i]); }
}`,
  );
}

for (const [name, exact, low, high] of cases) {
  gpuTest(`${name}() is within 4 units in the last place on [${low}, ${high}]`, async (gpu) => {
    const count = 20011;
    const inputs = Float32Array.from(
      { length: count },
      (_, i) => low + (high - low) * i / (count - 1),
    );
    const x = gpu.acquire(4 * count);
    gpu.upload(x, inputs);
    gpu.run(kernelOf(name), "main", { buffers: { x }, params: { count }, threads: count });
    const [bytes] = await gpu.read([x]);
    gpu.release(x);
    const found = new Float32Array(bytes!);
    for (let i = 0; i < count; i++) {
      const expected = exact(inputs[i]!);
      const unit = 2 ** (Math.floor(Math.log2(Math.abs(expected) || 1)) - 23);
      const error = Math.abs(found[i]! - expected) / unit;
      assert(error <= 4, `${name}(${inputs[i]}): expected ${expected}, found ${found[i]}`);
    }
  });
}

const ends: [name: string, inputs: number[], expected: number[]][] = [
  ["preciseExp", [NaN, Infinity, -Infinity, 0, -1e30], [NaN, Infinity, 0, 1, 0]],
  ["expOfNegative", [NaN, -Infinity, -3.4e38, -87.5, -0], [NaN, 0, 0, 0, 1]],
];

for (const [name, inputs, expected] of ends) {
  gpuTest(`${name}() keeps NaN and knows its ends`, async (gpu) => {
    const x = gpu.acquire(4 * inputs.length);
    gpu.upload(x, new Float32Array(inputs));
    gpu.run(kernelOf(name), "main", {
      buffers: { x },
      params: { count: inputs.length },
      threads: inputs.length,
    });
    const [bytes] = await gpu.read([x]);
    gpu.release(x);
    assertEquals([...new Float32Array(bytes!)], expected);
  });
}

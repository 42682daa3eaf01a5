struct Params { alpha: f32, residualShift: u32, m: u32, n: u32, depth: u32, innerBatch: u32,
  aOffset: u32, aOuter: u32, aInner: u32, aStep: u32,
  bOffset: u32, bOuter: u32, bInner: u32, bStep: u32,
  cOffset: u32, cOuter: u32, cInner: u32, cStep: u32, biasOffset: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

@compute @workgroup_size(8)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
let m = params.m;
let n = params.n;
let count = params.depth;
let aStep = params.aStep;
let bStep = params.bStep;
let outer = group.z / params.innerBatch;
let inner = group.z % params.innerBatch;
let aBase = params.aOffset + outer * params.aOuter + inner * params.aInner;
let bBase = params.bOffset + outer * params.bOuter + inner * params.bInner;
let cBase = params.cOffset + outer * params.cOuter + inner * params.cInner;
let firstRow = group.y * 8u;
let firstColumn = group.x * 8u;
let laneX = lane % 2u;
let row = firstRow + lane / 2u * 2u;
let column0 = firstColumn + 0u + 4u * laneX;
let column1 = firstColumn + 1u + 4u * laneX;
let column2 = firstColumn + 2u + 4u * laneX;
let column3 = firstColumn + 3u + 4u * laneX;
var c0_0 = vec4f();
var c1_0 = vec4f();
let p0 = aBase + min(row + 0u, m - 1u) * params.aStep;
let p1 = aBase + min(row + 1u, m - 1u) * params.aStep;
let q0 = min(column0, n - 4u);

for (var k = 0u; k < count; k += 4u) {
let aAt0 = k + 0u;
let a0_0 = a[(p0 + aAt0) >> 2u];
let a1_0 = a[(p1 + aAt0) >> 2u];
let bAt0 = k + 0u;
let b0_0 = b[(bBase + q0 + bAt0 * bStep) >> 2u];
let bAt1 = k + 1u;
let b0_1 = b[(bBase + q0 + bAt1 * bStep) >> 2u];
let bAt2 = k + 2u;
let b0_2 = b[(bBase + q0 + bAt2 * bStep) >> 2u];
let bAt3 = k + 3u;
let b0_3 = b[(bBase + q0 + bAt3 * bStep) >> 2u];
c0_0 = fma(vec4f(a0_0.x), b0_0, c0_0);
c1_0 = fma(vec4f(a1_0.x), b0_0, c1_0);
c0_0 = fma(vec4f(a0_0.y), b0_1, c0_0);
c1_0 = fma(vec4f(a1_0.y), b0_1, c1_0);
c0_0 = fma(vec4f(a0_0.z), b0_2, c0_0);
c1_0 = fma(vec4f(a1_0.z), b0_2, c1_0);
c0_0 = fma(vec4f(a0_0.w), b0_3, c0_0);
c1_0 = fma(vec4f(a1_0.w), b0_3, c1_0);
}

let in0 = row + 0u < m; let d0 = cBase + (row + 0u) * params.cStep;
let in1 = row + 1u < m; let d1 = cBase + (row + 1u) * params.cStep;
let bias0 = bias[min(params.biasOffset + column0, params.biasOffset + n - 1u)];
let bias1 = bias[min(params.biasOffset + column1, params.biasOffset + n - 1u)];
let bias2 = bias[min(params.biasOffset + column2, params.biasOffset + n - 1u)];
let bias3 = bias[min(params.biasOffset + column3, params.biasOffset + n - 1u)];
if (in0) {
if (column0 < n) { c[(d0 + column0) / 4u] = params.alpha * c0_0 + vec4f(bias0,bias1,bias2,bias3); }
}
if (in1) {
if (column0 < n) { c[(d1 + column0) / 4u] = params.alpha * c1_0 + vec4f(bias0,bias1,bias2,bias3); }
}
}

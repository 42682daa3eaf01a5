// What the quantizer's backward does outside its passes over the codebook.

struct Params {
  rows: u32, codes: u32, depth: u32, parts: u32, firstCode: u32, accumulate: u32,
  alpha: f32, gamma: f32, sampleWeight: f32, averageWeight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> dEntropyLoss: array<f32>;             // (1), like the next two
@group(0) @binding(2) var<storage, read> dSampleEntropy: array<f32>;
@group(0) @binding(3) var<storage, read> dAverageEntropy: array<f32>;
@group(0) @binding(4) var<storage, read_write> coefficients: array<f32>;       // (2)

@group(0) @binding(1) var<storage, read> probabilities: array<f32>;            // (codes)
@group(0) @binding(2) var<storage, read_write> codeWeights: array<f32>;        // (codes)

@group(0) @binding(1) var<storage, read> dzq: array<f32>;                      // (rows, depth)
@group(0) @binding(2) var<storage, read> difference: array<f32>;               // (rows, depth): zq - z
@group(0) @binding(3) var<storage, read> dquantLoss: array<f32>;               // (1)
@group(0) @binding(4) var<storage, read_write> rowGradients: array<f32>;       // (rows, depth)

@group(0) @binding(1) var<storage, read> partials: array<vec2f>;               // (rows, parts)
@group(0) @binding(2) var<storage, read_write> rowSums: array<vec2f>;          // (rows)

@group(0) @binding(1) var<storage, read> indices: array<u32>;                  // (allRows)
@group(0) @binding(2) var<storage, read_write> links: array<u32>;              // (rows): next row of the same code, high bit: not the first
@group(0) @binding(2) var<storage, read> chain: array<u32>;                    // (allRows)
@group(0) @binding(3) var<storage, read> chosenGradients: array<f32>;          // (rows, depth)
@group(0) @binding(4) var<storage, read_write> dcodebook: array<f32>;          // (codes, depth)

// Factors of the entropies' gradients by the logits; alpha = 1 / (T rows).
@compute @workgroup_size(1)
fn entropyCoefficients() {
  coefficients[0] = params.alpha * (params.sampleWeight * dEntropyLoss[0] + dSampleEntropy[0]);
  coefficients[1] = params.alpha * (dAverageEntropy[0] - params.averageWeight * dEntropyLoss[0]);
}

// The negative gradient of the average entropy by each average probability.
@compute @workgroup_size(THREADS)
fn averageEntropyWeights(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let code = flatIndex(w, n, l);
  if (code >= params.codes) { return; }
  let p = probabilities[code];
  codeWeights[code] = preciseLog(p + 1e-5) + p / (p + 1e-5);
}

// alpha dzq + gamma dquantLoss (zq - z)
@compute @workgroup_size(THREADS)
fn residual(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let at = flatIndex(w, n, l);
  if (at >= params.rows * params.depth) { return; }
  rowGradients[at] = params.alpha * dzq[at] + params.gamma * dquantLoss[0] * difference[at];
}

// The sums of a row from those of the lanes that shared it, and (accumulate) of the codes before these.
@compute @workgroup_size(THREADS)
fn mergeRowSums(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  var total = vec2f();
  for (var part = 0u; part < params.parts; part++) { total += partials[row * params.parts + part]; }
  rowSums[row] = select(total, total + rowSums[row], params.accumulate != 0u);
}

const FOLLOWS = 0x80000000u; // an earlier row chose the same code
const LAST = 0x7fffffffu;

// Chains the rows that chose the same code, so that each code's gradient is summed by one invocation, in order.
@compute @workgroup_size(THREADS)
fn linkRows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let code = indices[row];
  var next = row + 1u;
  while (next < params.rows && indices[next] != code) { next++; }
  var before = row;
  while (before > 0u && indices[before - 1u] != code) { before--; }
  links[row] = select(LAST, next, next < params.rows) | select(0u, FOLLOWS, before > 0u);
}

// Adds to the gradient of each chosen code what comes from the rows that chose it.
@compute @workgroup_size(THREADS)
fn addChosen(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let at = flatIndex(w, n, l);
  if (at >= params.rows * params.depth) { return; }
  var row = at / params.depth;
  let column = at % params.depth;
  let code = indices[row] - params.firstCode;
  if (code >= params.codes || (chain[row] & FOLLOWS) != 0u) { return; }
  var total = 0.0;
  while (row < params.rows) {
    // 32 at a time, so that a long chain loses no digits.
    var part = 0.0;
    for (var k = 0u; k < 32u && row < params.rows; k++) {
      part += chosenGradients[row * params.depth + column];
      row = chain[row] & LAST;
    }
    total += part;
  }
  dcodebook[code * params.depth + column] += total;
}

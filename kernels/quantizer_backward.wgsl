// What the quantizer's backward does outside its passes over the codebook.

override ENTROPY: bool = true;          // whether there are gradients of the entropies
override STRAIGHT_THROUGH: bool = true; // whether there is a gradient that flows straight through to every code

struct Params {
  rows: u32, codes: u32, depth: u32, parts: u32, firstCode: u32, firstPart: u32, bands: u32, band: u32, quads: u32, stride: u32, span: u32, rowLanes: u32,
  alpha: f32, gamma: f32, sampleWeight: f32, averageWeight: f32, inverseTemperature: f32,
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

@group(0) @binding(1) var<storage, read> logits: array<vec4f>;                 // (rows, stride): logits, less the row's maximum where the base is 0
@group(0) @binding(2) var<storage, read> rowStatistics: array<vec4f>;          // (rows): max, log Σ at 1, log Σ at T, entropy at T
@group(0) @binding(3) var<storage, read> weights: array<vec4f>;                // (quads): codeWeights
@group(0) @binding(7) var<storage, read> bases: array<f32>;                    // (rows, bands): what is to be subtracted from logits
@group(0) @binding(4) var<storage, read> products: array<vec4f>;               // (rows, stride): dzq·codebook
@group(0) @binding(5) var<storage, read_write> partialSums: array<vec2f>;      // (rows, parts)

@group(0) @binding(4) var<storage, read_write> dlogits: array<vec4f>;          // (rows, stride): the products, then the gradient
@group(0) @binding(5) var<storage, read> sumsOfRows: array<vec2f>;             // (rows)
@group(0) @binding(6) var<storage, read> factors: array<f32>;                  // coefficients

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

// The negative gradient of the average entropy by each average probability; 0 for what fills the last vector of four.
@compute @workgroup_size(THREADS)
fn averageEntropyWeights(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let code = flatIndex(w, n, l);
  if (code >= 4u * params.quads) { return; }
  let p = probabilities[min(code, params.codes - 1u)];
  codeWeights[code] = select(0.0, preciseLog(p + 1e-5) + p / (p + 1e-5), code < params.codes);
}

// Differences of four codes; a vector past the share counts nothing.
fn differencesAt(row: u32, quad: u32, end: u32, base: f32) -> vec4f {
  return select(vec4f(-1e30), logits[row * params.stride + min(quad, end - 1u)] - base, vec4<bool>(quad < end));
}

// Terms p (dzq·E) of four codes. Past the last code, where the product is undefined, the probability is 0.
fn softTerms(row: u32, quad: u32, end: u32, d: vec4f, logSum: f32) -> vec4f {
  if (!STRAIGHT_THROUGH) { return vec4f(); }
  let p = decay(d - logSum);
  return select(vec4f(), p * products[row * params.stride + min(quad, end - 1u)], p > vec4f());
}

// Loop steps over the vectors of which one has a difference that counts at the entropy's temperature: a software adapter skips loops,
// but no branches.
fn stepsNear(a: vec4f, b: vec4f, c: vec4f, d: vec4f) -> u32 {
  return select(0u, 4u, any(max(max(a, b), max(c, d)) > vec4f(NOTHING / params.inverseTemperature)));
}

// The sums over the codes that the softmax gradients subtract: Σ p (dzq·E) and Σ P weight, of each lane's share of a row.
@compute @workgroup_size(THREADS)
fn sumTerms(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let walk = walkOf(w, lane);
  let row = walk.row;
  if (row >= params.rows) { return; }
  let end = walk.end;
  let stride = params.rowLanes;
  let statistics = rowStatistics[row];
  let base = bases[row * params.bands + params.band];
  var soft = vec4f();
  var sharp = vec4f();
  for (var quad = walk.first; quad < end; quad += 4u * stride) {
    let a = differencesAt(row, quad, end, base);
    let b = differencesAt(row, quad + stride, end, base);
    let c = differencesAt(row, quad + 2u * stride, end, base);
    let d = differencesAt(row, quad + 3u * stride, end, base);
    soft += (softTerms(row, quad, end, a, statistics.y) + softTerms(row, quad + stride, end, b, statistics.y)) +
      (softTerms(row, quad + 2u * stride, end, c, statistics.y) + softTerms(row, quad + 3u * stride, end, d, statistics.y));
    if (ENTROPY) {
      let steps = stepsNear(a, b, c, d);
      for (var step = 0u; step < steps; step++) {
        let at = quad + step * stride;
        let logP = differencesAt(row, at, end, base) * params.inverseTemperature - statistics.z;
        sharp += decay(logP) * weights[min(at, end - 1u)];
      }
    }
  }
  partialSums[row * params.parts + walk.part] = vec2f(total(soft), total(sharp));
}

// The straight-through gradient by four logits.
fn differentiate(row: u32, quad: u32, end: u32, d: vec4f, logSum: f32, sum: f32) {
  let at = row * params.stride + min(quad, end - 1u);
  var y = vec4f();
  if (STRAIGHT_THROUGH) { y = decay(d - logSum) * (dlogits[at] - sum); }
  if (quad < end) { dlogits[at] = y; }
}

// The gradient by the logits; `factors` are those of the sample and of the average entropy.
@compute @workgroup_size(THREADS)
fn logitGradients(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let walk = walkOf(w, lane);
  let row = walk.row;
  if (row >= params.rows) { return; }
  let end = walk.end;
  let stride = params.rowLanes;
  let statistics = rowStatistics[row];
  let base = bases[row * params.bands + params.band];
  let sums = sumsOfRows[row];
  var both = vec2f();
  if (ENTROPY) { both = vec2f(factors[0], factors[1]); }
  for (var quad = walk.first; quad < end; quad += 4u * stride) {
    let a = differencesAt(row, quad, end, base);
    let b = differencesAt(row, quad + stride, end, base);
    let c = differencesAt(row, quad + 2u * stride, end, base);
    let d = differencesAt(row, quad + 3u * stride, end, base);
    differentiate(row, quad, end, a, statistics.y, sums.x);
    differentiate(row, quad + stride, end, b, statistics.y, sums.x);
    differentiate(row, quad + 2u * stride, end, c, statistics.y, sums.x);
    differentiate(row, quad + 3u * stride, end, d, statistics.y, sums.x);
    if (ENTROPY) {
      let steps = stepsNear(a, b, c, d);
      for (var step = 0u; step < steps; step++) {
        let near = quad + step * stride;
        let logP = differencesAt(row, near, end, base) * params.inverseTemperature - statistics.z;
        let y = decay(logP) * (both.x * (logP + statistics.w) + both.y * (weights[min(near, end - 1u)] - sums.y));
        if (near < end) { dlogits[row * params.stride + near] -= y; }
      }
    }
  }
}

// alpha dzq + gamma dquantLoss (zq - z)
@compute @workgroup_size(THREADS)
fn residual(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let at = flatIndex(w, n, l);
  if (at >= params.rows * params.depth) { return; }
  rowGradients[at] = params.alpha * dzq[at] + params.gamma * dquantLoss[0] * difference[at];
}

// The sums of a row from those of the lanes that shared it.
@compute @workgroup_size(THREADS)
fn mergeRowSums(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  var sum = vec2f();
  for (var part = 0u; part < params.parts; part++) { sum += partials[row * params.parts + part]; }
  rowSums[row] = sum;
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
  var sum = 0.0;
  while (row < params.rows) {
    // 32 at a time, so that a long chain loses no digits.
    var part = 0.0;
    for (var k = 0u; k < 32u && row < params.rows; k++) {
      part += chosenGradients[row * params.depth + column];
      row = chain[row] & LAST;
    }
    sum += part;
  }
  dcodebook[code * params.depth + column] += sum;
}

// What the quantizer's forward does outside its passes over the codebook: merging the lanes' results, and counting codes.

struct Params {
  rows: u32, codes: u32, parts: u32, firstCode: u32, accumulate: u32, scale: f32, inverseTemperature: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<Statistics>;          // (rows, parts)
@group(0) @binding(2) var<storage, read_write> merged: array<Statistics>;      // (rows)
@group(0) @binding(3) var<storage, read_write> rowStatistics: array<vec4f>;    // (rows): max, log Σ at 1, log Σ at T, entropy at T
@group(0) @binding(4) var<storage, read_write> indices: array<u32>;            // (rows)
@group(0) @binding(5) var<storage, read_write> rowEntropies: array<f32>;       // (rows)

@group(0) @binding(1) var<storage, read> chosen: array<u32>;                   // (rows)
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;     // (codes)

@group(0) @binding(1) var<storage, read> averageParts: array<f32>;             // (parts, codes)
@group(0) @binding(2) var<storage, read_write> average: array<f32>;            // (codes)

@group(0) @binding(1) var<storage, read> probabilities: array<f32>;            // (codes)
@group(0) @binding(2) var<storage, read_write> entropyTerms: array<f32>;       // (codes)

fn combine(a: Statistics, b: Statistics) -> Statistics {
  let maximum = max(a.maximum, b.maximum);
  let da = a.maximum - maximum;
  let db = b.maximum - maximum;
  let bestA = a.best + da;
  let bestB = b.best + db;
  let equal = abs(bestA - bestB) <= 0x1p-25;
  let takeB = select(bestB > bestA, b.code < a.code, equal);
  let fa = decay(da * params.inverseTemperature);
  let fb = decay(db * params.inverseTemperature);
  return Statistics(
    maximum,
    select(bestA, bestB, takeB),
    select(a.code, b.code, takeB),
    decay(da) * a.sum + decay(db) * b.sum,
    fa * a.sharpSum + fb * b.sharpSum,
    fa * (a.sharpMoment + a.sharpSum * da) + fb * (b.sharpMoment + b.sharpSum * db),
  );
}

// The statistics of a row from those of the lanes that shared it, and (accumulate) of the codes before these.
@compute @workgroup_size(THREADS)
fn mergeStatistics(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  var state = partials[row * params.parts];
  for (var part = 1u; part < params.parts; part++) { state = combine(state, partials[row * params.parts + part]); }
  if (params.accumulate != 0u) { state = combine(merged[row], state); }
  merged[row] = state;
}

@compute @workgroup_size(THREADS)
fn finishRows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let state = merged[row];
  let sharp = preciseLog(state.sharpSum);
  let entropy = sharp - params.inverseTemperature * state.sharpMoment / state.sharpSum;
  indices[row] = state.code;
  rowStatistics[row] = vec4f(state.maximum, preciseLog(state.sum), sharp, entropy);
  rowEntropies[row] = entropy;
}

// Adds 1 to the count of each chosen code.
@compute @workgroup_size(THREADS)
fn countCodes(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let code = chosen[row] - params.firstCode;
  if (code < params.codes) { atomicAdd(&counts[code], 1u); }
}

// The average probabilities of a range of codes, from their sums over ranges of rows.
@compute @workgroup_size(THREADS)
fn mergeAverages(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let code = flatIndex(w, n, l);
  if (code >= params.codes) { return; }
  var total = 0.0;
  for (var part = 0u; part < params.parts; part++) { total += averageParts[part * params.codes + code]; }
  total *= params.scale;
  average[code] = select(total, total + average[code], params.accumulate != 0u);
}

// -p log(p + 1e-5)
@compute @workgroup_size(THREADS)
fn averageEntropyTerms(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let code = flatIndex(w, n, l);
  if (code < params.codes) { entropyTerms[code] = -probabilities[code] * preciseLog(probabilities[code] + 1e-5); }
}

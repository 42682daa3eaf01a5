// Softmax of attention scores, in place, with a causal mask, and its gradient. LANES invocations share a row (see lanes.wgsl).

// `causal` 1: query number i of an image sees the keys 0 ... i + diagonal.
struct Params { rows: u32, first_row: u32, queries: u32, keys: u32, causal: u32, diagonal: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;     // (rows, keys); becomes the probabilities
@group(0) @binding(2) var<storage, read> probabilities: array<f32>;    // (rows, keys)
@group(0) @binding(3) var<storage, read> gradients: array<f32>;        // (rows, keys): of the probabilities
@group(0) @binding(4) var<storage, read_write> dscores: array<f32>;    // (rows, keys)

// A row, and the strided columns of a lane: `first`, `first + LANES`, ...; those before `seen` are seen by the row's query, those from
// `hidden` on are not.
struct Columns { exists: bool, base: u32, first: u32, seen: u32, hidden: u32 }

fn columnsOf(invocation: u32, lane: u32) -> Columns {
  let exists = invocation / LANES < params.rows;
  let row = min(invocation / LANES, params.rows - 1u);
  let query = (params.first_row + row) % params.queries;
  let seen = select(params.keys, min(params.keys, query + params.diagonal + 1u), params.causal != 0u);
  let first = lane % LANES;
  let hidden = first + (max(seen, first) - first + LANES - 1u) / LANES * LANES;
  return Columns(exists, row * params.keys, first, seen, hidden);
}

// Terms of a short partial sum: one chain over a long row would lose digits.
const CHUNK = 64u;

@compute @workgroup_size(THREADS)
fn softmax(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = columnsOf(flatIndex(w, n, l), l);
  var greatest = -3.4e38;
  for (var i = c.first; i < c.seen; i += LANES) { greatest = max(greatest, scores[c.base + i]); }
  greatest = rowMaximum(greatest, l);
  var total = 0.0;
  for (var chunk = c.first; chunk < c.seen; chunk += CHUNK * LANES) {
    var part = 0.0;
    for (var i = chunk; i < min(chunk + CHUNK * LANES, c.seen); i += LANES) {
      let e = preciseExp(scores[c.base + i] - greatest);
      if (c.exists) { scores[c.base + i] = e; }
      part += e;
    }
    total += part;
  }
  let sum = rowSum(vec4f(total), l).x;
  if (!c.exists) { return; }
  for (var i = c.first; i < c.seen; i += LANES) { scores[c.base + i] /= sum; }
  for (var i = c.hidden; i < params.keys; i += LANES) { scores[c.base + i] = 0.0; }
}

@compute @workgroup_size(THREADS)
fn softmax_backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = columnsOf(flatIndex(w, n, l), l);
  var total = 0.0;
  for (var chunk = c.first; chunk < c.seen; chunk += CHUNK * LANES) {
    var part = 0.0;
    for (var i = chunk; i < min(chunk + CHUNK * LANES, c.seen); i += LANES) {
      part += probabilities[c.base + i] * gradients[c.base + i];
    }
    total += part;
  }
  let mean = rowSum(vec4f(total), l).x;
  if (!c.exists) { return; }
  for (var i = c.first; i < c.seen; i += LANES) {
    dscores[c.base + i] = probabilities[c.base + i] * (gradients[c.base + i] - mean);
  }
  for (var i = c.hidden; i < params.keys; i += LANES) { dscores[c.base + i] = 0.0; }
}

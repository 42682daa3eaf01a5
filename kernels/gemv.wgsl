// Products of few rows with weights (outputs, inputs), which are read once: what bounds them is the reading of the weights.

// Where ROWS rows of x begin, and the part of the outputs whose weights are bound.
struct Params { first_row: u32, packs: u32, first_output: u32, outputs: u32, all_outputs: u32, shares: u32, pair_sums: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<Stored4>;      // (outputs, packs)
@group(0) @binding(2) var<storage, read> pairWeight: array<Stored4>; // (outputs, packs)
@group(0) @binding(3) var<storage, read> x: array<vec4f>;             // (all rows, packs)
@group(0) @binding(1) var<storage, read> sums: array<vec4f>;          // (outputs, shares, rows: 1, 2 or 4), those of a pair behind

var<workgroup> lane_sums: array<vec4f, THREADS>;
var<workgroup> lane_pair_sums: array<vec4f, THREADS>;

// Products of four weights with the rows.
fn rowDots(k: u32, weights: vec4f) -> vec4f {
  let at = params.first_row * params.packs + k;
  var rows = vec4f(dot(x[at], weights), 0.0, 0.0, 0.0);
  if (ROWS > 1u) { rows.y = dot(x[at + params.packs], weights); }
  if (ROWS > 2u) { rows.z = dot(x[at + 2u * params.packs], weights); }
  if (ROWS > 3u) { rows.w = dot(x[at + 3u * params.packs], weights); }
  return rows;
}

// A workgroup an output: its lanes lie side by side along the inputs.
@compute @workgroup_size(THREADS)
fn multiply(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let output = min(w.y * n.x + w.x, params.outputs - 1u);
  var rows = vec4f();
  var pairs = vec4f();
  for (var k = l; k < params.packs; k += THREADS) {
    rows += rowDots(k, vec4f(weight[output * params.packs + k]));
    if (PAIRED != 0u) { pairs += rowDots(k, vec4f(pairWeight[output * params.packs + k])); }
  }
  lane_sums[l] = rows;
  if (PAIRED != 0u) { lane_pair_sums[l] = pairs; }
  workgroupBarrier();
  for (var step = THREADS / 2u; step > 0u; step /= 2u) {
    if (l < step) {
      lane_sums[l] += lane_sums[l + step];
      if (PAIRED != 0u) { lane_pair_sums[l] += lane_pair_sums[l + step]; }
    }
    workgroupBarrier();
  }
  if (l == 0u && w.y * n.x + w.x < params.outputs) { store(output, lane_sums[0], lane_pair_sums[0]); }
}

// Adds up what the lanes of gemv_source.ts left, always in the same order, whatever the number of rows: the sums of every fourth
// share, then these.
fn sumOfShares(begin: u32, output: u32) -> vec4f {
  var totals = array<vec4f, 4>();
  for (var share = 0u; share < params.shares; share += 4u) {
    let first = output * params.shares + share;
    if (ROWS == 1u) {
      let four = sums[begin + first / 4u];
      for (var i = 0u; i < 4u; i++) { totals[i].x += four[i]; }
    } else if (ROWS == 2u) {
      let two = sums[begin + first / 2u];
      let others = sums[begin + first / 2u + 1u];
      totals[0] += two.xyyy;
      totals[1] += two.zwww;
      totals[2] += others.xyyy;
      totals[3] += others.zwww;
    } else {
      for (var i = 0u; i < 4u; i++) { totals[i] += sums[begin + first + i]; }
    }
  }
  return (totals[0] + totals[1]) + (totals[2] + totals[3]);
}

@compute @workgroup_size(THREADS)
fn add(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let output = flatIndex(w, n, l);
  if (output >= params.outputs) { return; }
  var pairs = vec4f();
  if (PAIRED != 0u) { pairs = sumOfShares(params.pair_sums, output); }
  store(output, sumOfShares(0u, output), pairs);
}

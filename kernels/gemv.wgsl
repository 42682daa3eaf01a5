// Products of few rows with weights (outputs, inputs), which are read once: what bounds them is the reading of the weights.

// Where ROWS rows of x begin, and the part of the outputs whose weights are bound.
struct Params { first_row: u32, packs: u32, first_output: u32, outputs: u32, all_outputs: u32, shares: u32, biased: u32 }

override ROWS: u32 = 1;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<Stored4>;   // (outputs, packs)
@group(0) @binding(2) var<storage, read> x: array<vec4f>;          // (all rows, packs)
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // (all outputs); bound to something else where `biased` is 0
@group(0) @binding(4) var<storage, read_write> y: array<f32>;      // (all rows, all outputs)
@group(0) @binding(1) var<storage, read> sums: array<vec4f>;       // (outputs, shares, rows: 1, 2 or 4)

var<workgroup> lane_sums: array<vec4f, THREADS>;

fn store(output: u32, rows: vec4f) {
  let column = params.first_output + output;
  var first = 0.0;
  if (params.biased != 0u) { first = bias[column]; }
  var values = rows + first;
  for (var row = 0u; row < ROWS; row++) {
    y[(params.first_row + row) * params.all_outputs + column] = values.x;
    values = values.yzwx;
  }
}

// A workgroup an output: its lanes lie side by side along the inputs.
@compute @workgroup_size(THREADS)
fn multiply(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let output = min(w.y * n.x + w.x, params.outputs - 1u);
  let first = params.first_row * params.packs;
  var rows = vec4f();
  for (var k = l; k < params.packs; k += THREADS) {
    let weights = vec4f(weight[output * params.packs + k]);
    rows.x += dot(x[first + k], weights);
    if (ROWS > 1u) { rows.y += dot(x[first + params.packs + k], weights); }
    if (ROWS > 2u) { rows.z += dot(x[first + 2u * params.packs + k], weights); }
    if (ROWS > 3u) { rows.w += dot(x[first + 3u * params.packs + k], weights); }
  }
  lane_sums[l] = rows;
  workgroupBarrier();
  for (var step = THREADS / 2u; step > 0u; step /= 2u) {
    if (l < step) { lane_sums[l] += lane_sums[l + step]; }
    workgroupBarrier();
  }
  if (l == 0u && w.y * n.x + w.x < params.outputs) { store(output, lane_sums[0]); }
}

// Adds up what the lanes of gemv_source.ts left, always in the same order, whatever the number of rows: the sums of every fourth
// share, then these.
@compute @workgroup_size(THREADS)
fn add(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let output = flatIndex(w, n, l);
  if (output >= params.outputs) { return; }
  var totals = array<vec4f, 4>();
  for (var share = 0u; share < params.shares; share += 4u) {
    let first = output * params.shares + share;
    if (ROWS == 1u) {
      let four = sums[first / 4u];
      for (var i = 0u; i < 4u; i++) { totals[i].x += four[i]; }
    } else if (ROWS == 2u) {
      let two = sums[first / 2u];
      let others = sums[first / 2u + 1u];
      totals[0] += two.xyyy;
      totals[1] += two.zwww;
      totals[2] += others.xyyy;
      totals[3] += others.zwww;
    } else {
      for (var i = 0u; i < 4u; i++) { totals[i] += sums[first + i]; }
    }
  }
  store(output, (totals[0] + totals[1]) + (totals[2] + totals[3]));
}

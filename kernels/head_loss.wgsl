// Cross-entropy of a projection to a large vocabulary, chunk by chunk of its columns: what is kept of a row of logits is its maximum, its
// sum of exponentials and its target's logit. LANES invocations share a row (see lanes.wgsl).

// Of a chunk: `columns`, of them `packs`, from `first_column` of the vocabulary on; `first_row`: first row of the block that it is of.
struct Params { rows: u32, first_row: u32, packs: u32, columns: u32, first_column: u32, vocabulary: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<Pack>; // (rows, packs); become their gradients
@group(0) @binding(2) var<storage, read> targets: array<u32>; // (all rows)
// (all rows): maximum, sum of e^(logit - maximum), logit of the target, logarithm of the sum of e^logit.
@group(0) @binding(3) var<storage, read_write> states: array<vec4f>;
@group(0) @binding(4) var<storage, read> finished: array<vec4f>; // states after the last chunk
@group(0) @binding(5) var<storage, read_write> losses: array<f32>; // (all rows)
@group(0) @binding(5) var<storage, read> dy: array<f32>; // one element

// The state before the first chunk; a target that is no column makes it NaN.
fn startOf(label: u32) -> vec4f {
  return vec4f(HIDDEN, 0.0, select(0.0, bitcast<f32>(label | 0x7fc00000u), label >= params.vocabulary), 0.0);
}

fn valuesOf(base: u32, columns: u32, pack: u32) -> Pack {
  return select(Pack(HIDDEN), logits[base + min(pack, params.packs - 1u)], packColumns(pack) < Pack(f32(columns)));
}

// Adds a chunk to the states.
@compute @workgroup_size(THREADS)
fn add_chunk(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l) / LANES;
  let exists = i < params.rows;
  let in_block = min(i, params.rows - 1u);
  let row = params.first_row + in_block;
  let base = in_block * params.packs;
  let found = rowExponentials(base, params.columns, l);
  if (!exists || l % LANES > 0u) { return; }
  let label = targets[row];
  var state = startOf(label);
  if (params.first_column > 0u) { state = states[row]; }
  let m = max(state.x, found.x);
  state.y = state.y * preciseExp(state.x - m) + found.y * preciseExp(found.x - m);
  state.x = m;
  let column = label - params.first_column;
  if (label >= params.first_column && column < params.columns) {
    state.z = packElement(logits[base + column / PACK_WIDTH], column);
  }
  state.w = m + preciseLog(state.y);
  states[row] = state;
}

// The loss of each row.
@compute @workgroup_size(THREADS)
fn finish(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let state = finished[row];
  losses[row] = (state.x - state.z) + preciseLog(state.y);
}

// From the logits again: factor dy (softmax - [column is the target]).
@compute @workgroup_size(THREADS)
fn logit_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.rows * params.packs) { return; }
  let in_block = i / params.packs;
  let pack = i - in_block * params.packs;
  let row = params.first_row + in_block;
  let label = targets[row];
  // Before the chunk, the number wraps and is no column of it.
  let column = f32(label - params.first_column);
  let expected = select(Pack(0.0), Pack(1.0), packColumns(pack) == Pack(column));
  logits[i] = params.factor * dy[0] * (packExp(logits[i] - finished[row].w) - expected);
}

// Index of the largest element of each row, the first of equals. A chunk of a row an invocation; element c of a row belongs to chunk
// c % chunks. A second pass takes the winners of the chunks, with their indices, as its rows.

// `first_row`: index of the first bound row.
struct Params { rows: u32, columns: u32, chunks: u32, first_row: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> winners: array<f32>;
@group(0) @binding(4) var<storage, read_write> winner_indices: array<u32>;

@compute @workgroup_size(THREADS)
fn of_elements(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = flatIndex(w, n, l);
  let row = t / params.chunks;
  if (row >= params.rows) { return; }
  let start = row * params.columns;
  var best = t % params.chunks;
  for (var c = best + params.chunks; c < params.columns; c += params.chunks) {
    if (x[start + c] > x[start + best]) { best = c; }
  }
  let output = params.first_row * params.chunks + t;
  winners[output] = x[start + best];
  winner_indices[output] = best;
}

@compute @workgroup_size(THREADS)
fn of_winners(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let start = row * params.columns;
  var best = start;
  for (var at = start + 1u; at < start + params.columns; at++) {
    if (x[at] > x[best] || (x[at] == x[best] && indices[at] < indices[best])) { best = at; }
  }
  winner_indices[row] = indices[best];
}

// x has shape (outer, middle, inner), a vector has (outer, inner): the same vector for all of the middle axis.

// Counts, extents and `first_vector` are in packs. `first_row`: index of the first bound row of x among the rows that share the first bound vectors; `first_vector`: where those start.
struct Params { count: u32, middle: u32, inner: u32, first_row: u32, first_vector: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredPack>;
@group(0) @binding(2) var<storage, read> vector: array<StoredPack>;
@group(0) @binding(3) var<storage, read> shift: array<StoredPack>;
@group(0) @binding(4) var<storage, read> base: array<StoredPack>;
@group(0) @binding(5) var<storage, read_write> y: array<StoredPack>;

fn vectorIndex(i: u32) -> u32 {
  let row = (params.first_row + i / params.inner) / params.middle;
  return params.first_vector + row * params.inner + i % params.inner;
}

// y = factor vector
@compute @workgroup_size(THREADS)
fn expand(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = StoredPack(params.factor * Pack(vector[vectorIndex(i)])); }
}

// y = x + vector
@compute @workgroup_size(THREADS)
fn add(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = StoredPack(Pack(x[i]) + Pack(vector[vectorIndex(i)])); }
}

// y = x (factor + vector)
@compute @workgroup_size(THREADS)
fn multiply(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = StoredPack(Pack(x[i]) * (params.factor + Pack(vector[vectorIndex(i)]))); }
}

// y = x (1 + vector) + shift
@compute @workgroup_size(THREADS)
fn modulate(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let v = vectorIndex(i);
  if (i < params.count) { y[i] = StoredPack(fma(Pack(x[i]), 1.0 + Pack(vector[v]), Pack(shift[v]))); }
}

// y = base + vector x
@compute @workgroup_size(THREADS)
fn gate(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = StoredPack(fma(Pack(vector[vectorIndex(i)]), Pack(x[i]), Pack(base[i]))); }
}

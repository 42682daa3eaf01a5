// x has shape (outer, middle, inner), a vector has (outer, inner): the same vector for all of the middle axis.

// `first_row`: index of the first bound row of x among the rows that share the first bound vectors; `first_vector`: where those start.
struct Params { count: u32, middle: u32, inner: u32, first_row: u32, first_vector: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> vector: array<f32>;
@group(0) @binding(3) var<storage, read> shift: array<f32>;
@group(0) @binding(4) var<storage, read> base: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn vectorIndex(i: u32) -> u32 {
  let row = (params.first_row + i / params.inner) / params.middle;
  return params.first_vector + row * params.inner + i % params.inner;
}

// y = factor vector
@compute @workgroup_size(THREADS)
fn expand(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = params.factor * vector[vectorIndex(i)]; }
}

// y = x + vector
@compute @workgroup_size(THREADS)
fn add(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = x[i] + vector[vectorIndex(i)]; }
}

// y = x (factor + vector)
@compute @workgroup_size(THREADS)
fn multiply(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = x[i] * (params.factor + vector[vectorIndex(i)]); }
}

// y = x (1 + vector) + shift
@compute @workgroup_size(THREADS)
fn modulate(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let v = vectorIndex(i);
  if (i < params.count) { y[i] = fma(x[i], 1.0 + vector[v], shift[v]); }
}

// y = base + vector x
@compute @workgroup_size(THREADS)
fn gate(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = fma(vector[vectorIndex(i)], x[i], base[i]); }
}

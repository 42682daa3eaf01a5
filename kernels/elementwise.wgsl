// Arithmetic on equally long arrays, with scalars from Params.

struct Params { count: u32, alpha: f32, beta: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<Stored>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;

// y = alpha a + beta b
@compute @workgroup_size(THREADS)
fn linear(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = Stored(params.alpha * f32(a[i]) + params.beta * f32(b[i])); }
}

// y = a b
@compute @workgroup_size(THREADS)
fn multiply(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = Stored(f32(a[i]) * f32(b[i])); }
}

// y = alpha a + beta
@compute @workgroup_size(THREADS)
fn affine(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = Stored(params.alpha * f32(a[i]) + params.beta); }
}

// y = alpha
@compute @workgroup_size(THREADS)
fn fill(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = Stored(params.alpha); }
}

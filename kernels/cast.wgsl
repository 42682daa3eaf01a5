enable f16;

// Conversion between f32 and f16 in memory.

struct Params { count: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> full: array<f32>;
@group(0) @binding(2) var<storage, read_write> rounded: array<f16>;
@group(0) @binding(1) var<storage, read> half: array<f16>;
@group(0) @binding(2) var<storage, read_write> widened: array<f32>;

// To the nearest f16; infinite where that is too large for f16.
@compute @workgroup_size(THREADS)
fn toHalf(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { rounded[i] = f16(full[i]); }
}

@compute @workgroup_size(THREADS)
fn toFull(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { widened[i] = f32(half[i]); }
}

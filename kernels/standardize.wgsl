// Fixed affine map of each channel: (x - shift) / scale, and its gradient dy / scale.

struct Params { count: u32, channels: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read> shift: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read> scale: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read_write> y: array<Stored>;
@group(0) @binding(1) var<storage, read> dy: array<Stored>;
@group(0) @binding(4) var<storage, read_write> dx: array<Stored>;

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let channel = i % params.channels;
  y[i] = Stored((f32(x[i]) - shift[channel]) / scale[channel]);
}

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  dx[i] = Stored(f32(dy[i]) / scale[i % params.channels]);
}

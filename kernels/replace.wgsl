// Replaces indices at random: by one index, or by random ones.

struct Params { count: u32, first: u32, seed: u32, step: u32, stream: u32, rate: f32, low: u32, range: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn replace(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let bits = philox(vec4u(params.first + i, params.stream, params.step, 0u), vec2u(params.seed, 0u));
  y[i] = select(x[i], params.low + bits.y % params.range, unitInterval(bits.x) < params.rate);
}

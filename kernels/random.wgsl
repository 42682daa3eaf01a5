// Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011), one block of four numbers for each four elements.

struct Params { count: u32, first: u32, seed: u32, step: u32, stream: u32, offset: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn uniform_values(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let block = flatIndex(w, n, l);
  let bits = philox(vec4u(params.first / 4u + block, params.stream, params.step, 0u), vec2u(params.seed, 0u));
  for (var j = 0u; j < 4u; j++) {
    let i = 4u * block + j;
    if (i < params.count) { y[i] = params.offset + params.scale * unitInterval(bits[j]); }
  }
}

@compute @workgroup_size(THREADS)
fn normal_values(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let block = flatIndex(w, n, l);
  let bits = philox(vec4u(params.first / 4u + block, params.stream, params.step, 0u), vec2u(params.seed, 0u));
  for (var j = 0u; j < 4u; j += 2u) {
    // Box-Muller; 1 - u is in (0, 1], so the logarithm is finite.
    let radius = sqrt(-2.0 * log(1.0 - unitInterval(bits[j])));
    let angle = 6.283185307179586 * unitInterval(bits[j + 1u]);
    let i = 4u * block + j;
    if (i < params.count) { y[i] = params.offset + params.scale * radius * cos(angle); }
    if (i + 1u < params.count) { y[i + 1u] = params.offset + params.scale * radius * sin(angle); }
  }
}

// Random decisions: element i of a mask is kept where the i-th uniform number of a Philox stream is at least `probability`. The mask is
// never stored: backward decides the same again.

// `first`: index of the first bound element, a multiple of 4; `factor`: multiplies what is kept; `sample_size`: elements that share a
// decision; `value`, `below`: what replaces a label, a fixed one or, where `below` is not 0, a uniform one of [0, below).
struct Params {
  count: u32, first: u32, seed: u32, step: u32, stream: u32,
  probability: f32, factor: f32, sample_size: u32, value: u32, below: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> replaced: array<u32>;

// Random words of elements 4 block to 4 block + 3; `use_of` tells apart what they are for.
fn words(block: u32, use_of: u32) -> vec4u {
  return philox(vec4u(block, params.stream, params.step, use_of), vec2u(params.seed, 0u));
}

// One decision an element.
@compute @workgroup_size(THREADS)
fn drop_elements(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let block = flatIndex(w, n, l);
  let bits = words(params.first / 4u + block, 0u);
  for (var j = 0u; j < 4u; j++) {
    let i = 4u * block + j;
    if (i < params.count) {
      y[i] = Stored(select(0.0, params.factor * f32(x[i]), unitInterval(bits[j]) >= params.probability));
    }
  }
}

// One decision for each run of `sample_size` elements.
@compute @workgroup_size(THREADS)
fn drop_samples(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let sample = (params.first + i) / params.sample_size;
  let bits = words(sample / 4u, 0u)[sample % 4u];
  y[i] = Stored(select(0.0, params.factor * f32(x[i]), unitInterval(bits) >= params.probability));
}

@compute @workgroup_size(THREADS)
fn replace(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let block = flatIndex(w, n, l);
  let bits = words(params.first / 4u + block, 0u);
  let choices = words(params.first / 4u + block, 1u);
  for (var j = 0u; j < 4u; j++) {
    let i = 4u * block + j;
    if (i < params.count) {
      // The high word of the product is uniform in [0, below).
      let replacement = select(params.value, multiplyWide(choices[j], params.below).y, params.below > 0u);
      replaced[i] = select(labels[i], replacement, unitInterval(bits[j]) < params.probability);
    }
  }
}

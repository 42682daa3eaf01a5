// Rotary position embedding (Su et al. 2021) of heads, while they are copied between arrays of other strides: a fused query-key-value
// row becomes heads, a head becomes a row of a cache. Pairs are interleaved: elements 2i and 2i + 1 of a head turn together.

// Strides and offsets count packs of two pairs; `rotate` 0 copies; `direction` -1 turns back.
struct Params {
  packs: u32, tokens: u32, heads: u32, packs_per_head: u32,
  source_batch_stride: u32, source_token_stride: u32, source_offset: u32,
  target_batch_stride: u32, target_token_stride: u32, target_offset: u32,
  first_position: u32, rotate: u32, direction: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;
@group(0) @binding(2) var<storage, read> table: array<vec4f>; // (position, pack): cosine, sine, cosine, sine
@group(0) @binding(3) var<storage, read_write> result: array<vec4f>;

@compute @workgroup_size(THREADS)
fn turn(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.packs) { return; }
  let width = params.heads * params.packs_per_head;
  let row = i / width;
  let column = i - row * width;
  let batch = row / params.tokens;
  let token = row - batch * params.tokens;
  let x = source[batch * params.source_batch_stride + token * params.source_token_stride + params.source_offset + column];
  var y = x;
  if (params.rotate != 0u) {
    let turned = table[(params.first_position + token) * params.packs_per_head + column % params.packs_per_head];
    y = x * turned.xxzz + params.direction * turned.yyww * vec4f(-x.y, x.x, -x.w, x.z);
  }
  result[batch * params.target_batch_stride + token * params.target_token_stride + params.target_offset + column] = y;
}

// One decoding step of attention: the new token's heads are turned and appended to a cache, which then is attended to. The cache alone
// may be f16.

// Packs are four elements; a head has `packs`, a fused row [query | key | value] has `row_packs`.
struct Params {
  images: u32, heads: u32, kv_heads: u32, packs: u32, room: u32, position: u32, keys: u32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;               // (images, row_packs)
@group(0) @binding(2) var<storage, read> table: array<vec4f>;             // (positions, packs): cosine, sine, cosine, sine
@group(0) @binding(3) var<storage, read_write> query: array<vec4f>;       // (images, heads, packs)
@group(0) @binding(4) var<storage, read_write> key: array<Stored4>;       // (images, room, kv_heads, packs)
@group(0) @binding(5) var<storage, read_write> value: array<Stored4>;     // (images, room, kv_heads, packs)
@group(0) @binding(1) var<storage, read> queries: array<vec4f>;           // (images, heads, packs)
@group(0) @binding(2) var<storage, read> keys: array<Stored4>;            // as `key`
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;        // (images, heads, keys)
@group(0) @binding(1) var<storage, read> probabilities: array<f32>;       // (images, heads, keys)
@group(0) @binding(2) var<storage, read> values: array<Stored4>;          // as `value`
@group(0) @binding(3) var<storage, read_write> mixed: array<vec4f>;       // (images, heads, packs)

@compute @workgroup_size(THREADS)
fn append(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let row_packs = (params.heads + 2u * params.kv_heads) * params.packs;
  if (i >= params.images * row_packs) { return; }
  let image = i / row_packs;
  let column = i - image * row_packs;
  let queries_end = params.heads * params.packs;
  let keys_end = queries_end + params.kv_heads * params.packs;
  let x = qkv[i];
  let angle = table[params.position * params.packs + column % params.packs];
  let turned = x * angle.xxzz + angle.yyww * vec4f(-x.y, x.x, -x.w, x.z);
  let cached = (image * params.room + params.position) * params.kv_heads * params.packs;
  if (column < queries_end) {
    query[image * queries_end + column] = turned;
  } else if (column < keys_end) {
    key[cached + column - queries_end] = Stored4(turned);
  } else {
    value[cached + column - keys_end] = Stored4(x);
  }
}

// First pack of a token's key or value, for a query head.
fn cachedAt(image: u32, head: u32, token: u32) -> u32 {
  let kv_head = head * params.kv_heads / params.heads;
  return ((image * params.room + token) * params.kv_heads + kv_head) * params.packs;
}

@compute @workgroup_size(THREADS)
fn score(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let row = i / params.keys;
  let image = row / params.heads;
  if (image >= params.images) { return; }
  let cached = cachedAt(image, row - image * params.heads, i - row * params.keys);
  var sum = 0.0;
  for (var pack = 0u; pack < params.packs; pack++) {
    sum += dot(queries[row * params.packs + pack], vec4f(keys[cached + pack]));
  }
  scores[i] = params.scale * sum;
}

@compute @workgroup_size(THREADS)
fn mix_values(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let row = i / params.packs;
  let image = row / params.heads;
  if (image >= params.images) { return; }
  let first = cachedAt(image, row - image * params.heads, 0u) + i - row * params.packs;
  let step = params.kv_heads * params.packs;
  var sum = vec4f();
  for (var token = 0u; token < params.keys; token++) {
    sum += probabilities[row * params.keys + token] * vec4f(values[first + token * step]);
  }
  mixed[i] = sum;
}

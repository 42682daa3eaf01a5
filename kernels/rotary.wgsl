// Rotary position embedding (Su et al. 2021) of heads, alone or while a fused query-key-value row is cut into heads, or heads are joined
// to such a row. Pairs are interleaved: elements 2i and 2i + 1 of a head turn together.

// Strides and offsets count packs of two pairs. `…_end`: first pack of a row behind the queries and behind the keys; packs from
// `keys_end` on are values, which do not turn. `direction` -1 turns back.
struct Params {
  packs: u32, tokens: u32, row_packs: u32, queries_end: u32, keys_end: u32, packs_per_head: u32, first_position: u32,
  query_batch_stride: u32, query_token_stride: u32, query_offset: u32,
  key_batch_stride: u32, key_token_stride: u32, key_offset: u32,
  value_batch_stride: u32, value_token_stride: u32, value_offset: u32,
  direction: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<Stored4>; // (batch, tokens, row_packs)
@group(0) @binding(2) var<storage, read> table: array<vec4f>; // (position, pack): cosine, sine, cosine, sine
@group(0) @binding(3) var<storage, read_write> query: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> key: array<Stored4>;
@group(0) @binding(5) var<storage, read_write> value: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> joined: array<Stored4>; // (batch, tokens, row_packs)
@group(0) @binding(3) var<storage, read> queryPart: array<Stored4>;
@group(0) @binding(4) var<storage, read> keyPart: array<Stored4>;
@group(0) @binding(5) var<storage, read> valuePart: array<Stored4>;

struct Place { batch: u32, token: u32, column: u32 }

fn placeOf(i: u32) -> Place {
  let row = i / params.row_packs;
  let batch = row / params.tokens;
  return Place(batch, row - batch * params.tokens, i - row * params.row_packs);
}

// `column` counts from the start of a part, whose heads are whole.
fn turned(x: vec4f, token: u32, column: u32) -> vec4f {
  let angle = table[(params.first_position + token) * params.packs_per_head + column % params.packs_per_head];
  return x * angle.xxzz + params.direction * angle.yyww * vec4f(-x.y, x.x, -x.w, x.z);
}

fn queryAt(place: Place) -> u32 {
  return place.batch * params.query_batch_stride + place.token * params.query_token_stride + params.query_offset + place.column;
}

fn keyAt(place: Place) -> u32 {
  return place.batch * params.key_batch_stride + place.token * params.key_token_stride + params.key_offset +
    place.column - params.queries_end;
}

fn valueAt(place: Place) -> u32 {
  return place.batch * params.value_batch_stride + place.token * params.value_token_stride + params.value_offset +
    place.column - params.keys_end;
}

// Rows of heads to heads: all of them turn.
@compute @workgroup_size(THREADS)
fn turn(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.packs) { return; }
  let place = placeOf(i);
  query[i] = Stored4(turned(vec4f(rows[i]), place.token, place.column));
}

// Rows [query | key | value] to three arrays of heads.
@compute @workgroup_size(THREADS)
fn split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.packs) { return; }
  let place = placeOf(i);
  let x = vec4f(rows[i]);
  if (place.column < params.queries_end) {
    query[queryAt(place)] = Stored4(turned(x, place.token, place.column));
  } else if (place.column < params.keys_end) {
    key[keyAt(place)] = Stored4(turned(x, place.token, place.column - params.queries_end));
  } else {
    value[valueAt(place)] = Stored4(x);
  }
}

// Three arrays of heads to rows [query | key | value].
@compute @workgroup_size(THREADS)
fn join(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.packs) { return; }
  let place = placeOf(i);
  if (place.column < params.queries_end) {
    joined[i] = Stored4(turned(vec4f(queryPart[queryAt(place)]), place.token, place.column));
  } else if (place.column < params.keys_end) {
    joined[i] = Stored4(turned(vec4f(keyPart[keyAt(place)]), place.token, place.column - params.queries_end));
  } else {
    joined[i] = valuePart[valueAt(place)];
  }
}

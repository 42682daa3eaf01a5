// Attention without scores in memory (Dao et al. 2022), for adapters with fast workgroup memory: an invocation owns a query (or, for the
// gradients of keys and values, a key), and the workgroup walks over tiles of the other side in workgroup memory. The launcher joins
// `HEAD`, the vectors of a head, and `TILE`, the rows of a tile, a multiple of 4, in front, and writes out every loop over `c`: arrays
// whose indices are constants stay in registers.

// Strides count vectors of four. `group`: query heads that share a key head. `first_head`: first bound head, counted over all images.
struct Params {
  queries: u32, keys: u32, heads: u32, group: u32, first_head: u32,
  query_image: u32, query_row: u32, key_image: u32, key_row: u32,
  causal: u32, diagonal: u32, scale: f32, probability: f32, factor: f32, seed: u32, step: u32, stream: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Stored4>; // (images, queries, heads, HEAD)
@group(0) @binding(2) var<storage, read> k: array<Stored4>; // (images, tokens, heads / group, HEAD)
@group(0) @binding(3) var<storage, read> v: array<Stored4>; // same
@group(0) @binding(4) var<storage, read> dy: array<Stored4>; // (images, queries, heads, HEAD)
@group(0) @binding(5) var<storage, read> logSums: array<f32>; // (all images, heads, queries)
@group(0) @binding(6) var<storage, read> dots: array<f32>; // same
@group(0) @binding(7) var<storage, read_write> dq: array<Stored4>; // as q
@group(0) @binding(7) var<storage, read_write> dk: array<Stored4>; // as k
@group(0) @binding(8) var<storage, read_write> dv: array<Stored4>; // as v
@group(0) @binding(4) var<storage, read_write> y: array<Stored4>; // as q
@group(0) @binding(5) var<storage, read_write> newLogSums: array<f32>; // as logSums

var<workgroup> tileA: array<vec4f, TILE * HEAD>;
var<workgroup> tileB: array<vec4f, TILE * HEAD>;

const HIDDEN = -3.4e38;

fn sees(query: u32, key: u32) -> bool {
  return key < params.keys && query < params.queries && (params.causal == 0u || key <= query + params.diagonal);
}

// What dropout multiplies a probability by; `row` counts queries of heads of all images.
fn kept(row: u32, key: u32) -> f32 {
  if (params.probability == 0.0) { return 1.0; }
  let block = row * ((params.keys + 3u) / 4u) + key / 4u;
  let bits = philox(vec4u(block, params.stream, params.step, 0u), vec2u(params.seed, 0u));
  return select(0.0, params.factor, unitInterval(bits[key & 3u]) >= params.probability);
}

fn sumOf(value: vec4f) -> f32 {
  return (value.x + value.y) + (value.z + value.w);
}

// e to the power of numbers that are not positive.
fn exp4(x: vec4f) -> vec4f {
  return vec4f(expOfNegative(x.x), expOfNegative(x.y), expOfNegative(x.z), expOfNegative(x.w));
}

// Keys and values from `first` on, zeros behind the last.
fn loadKeys(base: u32, first: u32, lane: u32) {
  for (var i = lane; i < TILE * HEAD; i += THREADS) {
    let key = first + i / HEAD;
    let at = base + min(key, params.keys - 1u) * params.key_row + i % HEAD;
    tileA[i] = select(vec4f(), vec4f(k[at]), key < params.keys);
    tileB[i] = select(vec4f(), vec4f(v[at]), key < params.keys);
  }
}

// Keys that some query of the workgroup sees.
fn lastKey(firstQuery: u32) -> u32 {
  let last = min(firstQuery + THREADS, params.queries) - 1u;
  return select(params.keys, min(params.keys, last + params.diagonal + 1u), params.causal != 0u);
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let query = w.x * THREADS + l;
  let image = w.y / params.heads;
  let head = w.y - image * params.heads;
  let at = image * params.query_image + min(query, params.queries - 1u) * params.query_row + head * HEAD;
  let row = (params.first_head + w.y) * params.queries + query;
  let base = image * params.key_image + head / params.group * HEAD;
  var own: array<vec4f, HEAD>;
  var sum: array<vec4f, HEAD>;
  for (var c = 0u; c < HEAD; c++) { own[c] = params.scale * vec4f(q[at + c]); }
  var greatest = HIDDEN;
  var total = 0.0;
  let end = lastKey(w.x * THREADS);
  for (var first = 0u; first < end; first += TILE) {
    workgroupBarrier();
    loadKeys(base, first, l);
    workgroupBarrier();
    for (var j = 0u; j < TILE; j += 4u) {
      var s = array<vec4f, 4>();
      for (var c = 0u; c < HEAD; c++) {
        s[0] = fma(own[c], tileA[j * HEAD + c], s[0]);
        s[1] = fma(own[c], tileA[(j + 1u) * HEAD + c], s[1]);
        s[2] = fma(own[c], tileA[(j + 2u) * HEAD + c], s[2]);
        s[3] = fma(own[c], tileA[(j + 3u) * HEAD + c], s[3]);
      }
      let seen = vec4<bool>(
        sees(query, first + j), sees(query, first + j + 1u), sees(query, first + j + 2u), sees(query, first + j + 3u),
      );
      let scores = select(vec4f(HIDDEN), vec4f(sumOf(s[0]), sumOf(s[1]), sumOf(s[2]), sumOf(s[3])), seen);
      let m = max(greatest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
      // A row whose keys are all hidden so far has the maximum HIDDEN, and adds nothing.
      let e = select(vec4f(), exp4(scores - m), seen);
      let decay = expOfNegative(greatest - m);
      greatest = m;
      total = fma(total, decay, sumOf(e));
      let p = e * vec4f(kept(row, first + j), kept(row, first + j + 1u), kept(row, first + j + 2u), kept(row, first + j + 3u));
      for (var c = 0u; c < HEAD; c++) {
        sum[c] = fma(vec4f(p.x), tileB[j * HEAD + c], sum[c] * decay);
        sum[c] = fma(vec4f(p.y), tileB[(j + 1u) * HEAD + c], sum[c]);
        sum[c] = fma(vec4f(p.z), tileB[(j + 2u) * HEAD + c], sum[c]);
        sum[c] = fma(vec4f(p.w), tileB[(j + 3u) * HEAD + c], sum[c]);
      }
    }
  }
  if (query >= params.queries) { return; }
  newLogSums[row] = greatest + preciseLog(total);
  let share = 1.0 / total;
  for (var c = 0u; c < HEAD; c++) { y[at + c] = Stored4(sum[c] * share); }
}

@compute @workgroup_size(THREADS)
fn query_gradients(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let query = w.x * THREADS + l;
  let image = w.y / params.heads;
  let head = w.y - image * params.heads;
  let at = image * params.query_image + min(query, params.queries - 1u) * params.query_row + head * HEAD;
  let row = (params.first_head + w.y) * params.queries + min(query, params.queries - 1u);
  let base = image * params.key_image + head / params.group * HEAD;
  let logSum = logSums[row];
  let dot = dots[row];
  var own: array<vec4f, HEAD>;
  var gradient: array<vec4f, HEAD>;
  var sum: array<vec4f, HEAD>;
  for (var c = 0u; c < HEAD; c++) {
    own[c] = params.scale * vec4f(q[at + c]);
    gradient[c] = vec4f(dy[at + c]);
  }
  let end = lastKey(w.x * THREADS);
  for (var first = 0u; first < end; first += TILE) {
    workgroupBarrier();
    loadKeys(base, first, l);
    workgroupBarrier();
    for (var j = 0u; j < TILE; j++) {
      var s = vec4f();
      var g = vec4f();
      for (var c = 0u; c < HEAD; c++) {
        s = fma(own[c], tileA[j * HEAD + c], s);
        g = fma(gradient[c], tileB[j * HEAD + c], g);
      }
      let p = select(0.0, preciseExp(sumOf(s) - logSum), sees(query, first + j));
      let ds = p * (sumOf(g) * kept(row, first + j) - dot);
      for (var c = 0u; c < HEAD; c++) { sum[c] = fma(vec4f(ds), tileA[j * HEAD + c], sum[c]); }
    }
  }
  if (query >= params.queries) { return; }
  for (var c = 0u; c < HEAD; c++) { dq[at + c] = Stored4(params.scale * sum[c]); }
}

// Of a key and its value: sums over the queries of all heads that share them.
@compute @workgroup_size(THREADS)
fn key_gradients(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let key = w.x * THREADS + l;
  let keyHeads = params.heads / params.group;
  let image = w.y / keyHeads;
  let keyHead = w.y - image * keyHeads;
  let at = image * params.key_image + min(key, params.keys - 1u) * params.key_row + keyHead * HEAD;
  var ownKey: array<vec4f, HEAD>;
  var ownValue: array<vec4f, HEAD>;
  var keySum: array<vec4f, HEAD>;
  var valueSum: array<vec4f, HEAD>;
  for (var c = 0u; c < HEAD; c++) {
    ownKey[c] = params.scale * vec4f(k[at + c]);
    ownValue[c] = vec4f(v[at + c]);
  }
  // The first query that sees the first key of the workgroup.
  let seen = select(0u, max(w.x * THREADS, params.diagonal) - params.diagonal, params.causal != 0u);
  for (var member = 0u; member < params.group; member++) {
    let head = keyHead * params.group + member;
    let base = image * params.query_image + head * HEAD;
    let rows = (params.first_head + image * params.heads + head) * params.queries;
    for (var first = seen; first < params.queries; first += TILE) {
      workgroupBarrier();
      for (var i = l; i < TILE * HEAD; i += THREADS) {
        let source = base + min(first + i / HEAD, params.queries - 1u) * params.query_row + i % HEAD;
        tileA[i] = vec4f(q[source]);
        tileB[i] = vec4f(dy[source]);
      }
      workgroupBarrier();
      for (var j = 0u; j < TILE; j++) {
        let row = rows + min(first + j, params.queries - 1u);
        var s = vec4f();
        var g = vec4f();
        for (var c = 0u; c < HEAD; c++) {
          s = fma(ownKey[c], tileA[j * HEAD + c], s);
          g = fma(ownValue[c], tileB[j * HEAD + c], g);
        }
        let p = select(0.0, preciseExp(sumOf(s) - logSums[row]), sees(first + j, key));
        let keep = kept(row, key);
        let ds = p * (sumOf(g) * keep - dots[row]);
        for (var c = 0u; c < HEAD; c++) {
          keySum[c] = fma(vec4f(ds), tileA[j * HEAD + c], keySum[c]);
          valueSum[c] = fma(vec4f(p * keep), tileB[j * HEAD + c], valueSum[c]);
        }
      }
    }
  }
  if (key >= params.keys) { return; }
  for (var c = 0u; c < HEAD; c++) {
    dk[at + c] = Stored4(params.scale * keySum[c]);
    dv[at + c] = Stored4(valueSum[c]);
  }
}

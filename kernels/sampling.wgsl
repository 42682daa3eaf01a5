// Choice of one token a row from logits: guidance and temperature, top-k and top-p as thresholds, draw by inverting the distribution.
//
// LANES invocations share a row (see lanes.wgsl). A lane owns a contiguous block of columns, so that the order of the lanes is the
// order of the columns. No row is sorted: top-k and top-p each keep what is not under a threshold, which is found by searching its
// bits from the top.

struct Params {
  rows: u32, columns: u32, copies: u32, guidance: f32, temperature: f32,
  top_k: u32, top_p: f32, position: u32, steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;       // (rows, copies, columns): conditional, then without class
@group(0) @binding(2) var<storage, read_write> guided: array<f32>; // (rows, columns)
@group(0) @binding(3) var<storage, read> scores: array<f32>;       // (rows, columns)
@group(0) @binding(4) var<storage, read_write> filtered: array<u32>; // (rows, columns): bits of the numbers
@group(0) @binding(5) var<storage, read> seeds: array<vec2u>;      // (rows): low and high word
@group(0) @binding(6) var<storage, read_write> tokens: array<u32>; // (rows, steps)
@group(0) @binding(7) var<storage, read_write> next: array<u32>;   // (rows, copies)

@compute @workgroup_size(THREADS)
fn guide(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.rows * params.columns) { return; }
  let first = i / params.columns * params.copies * params.columns + i % params.columns;
  let unconditional = logits[first + (params.copies - 1u) * params.columns];
  guided[i] = (unconditional + (logits[first] - unconditional) * params.guidance) / params.temperature;
}

// The columns that a lane owns, and the row's maximum.
struct Block { row: u32, base: u32, first: u32, end: u32, lane: u32, maximum: f32 }

// A row's columns from scores; lanes beyond the last row repeat it, since all must reach the barriers.
fn blockOf(invocation: u32, lane: u32) -> Block {
  let row = min(invocation / LANES, params.rows - 1u);
  let size = (params.columns + LANES - 1u) / LANES;
  let first = min(lane % LANES * size, params.columns);
  var block = Block(row, row * params.columns, first, min(first + size, params.columns), lane, -3.4e38);
  for (var i = block.first; i < block.end; i++) { block.maximum = max(block.maximum, scores[block.base + i]); }
  block.maximum = rowMaximum(block.maximum, lane);
  return block;
}

// Unsigned integers in the order of the numbers; both zeros are equal.
fn keyOf(value: f32) -> u32 {
  let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn numberOf(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

// For each candidate, the sum over the row's keys that are at least the candidate and at least `least`, of e^(score - maximum) or,
// where `counting`, of ones. Short partial sums, because one chain over a whole row would lose digits.
fn weigh(block: Block, candidates: vec4u, least: u32, counting: bool) -> vec4f {
  var total = vec4f();
  for (var chunk = block.first; chunk < block.end; chunk += 128u) {
    var part = vec4f();
    for (var i = chunk; i < min(chunk + 128u, block.end); i++) {
      let score = scores[block.base + i];
      let key = keyOf(score);
      let weight = select(preciseExp(score - block.maximum), 1.0, counting);
      part += select(vec4f(), vec4f(weight), vec4u(key) >= max(candidates, vec4u(least)));
    }
    total += part;
  }
  return rowSum(total, block.lane);
}

// The greatest key such that it and those above weigh more than `limit`, two bits at a time.
fn searchThreshold(block: Block, limit: f32, least: u32, counting: bool) -> u32 {
  var threshold = 0u;
  for (var shift = 32u; shift > 0u; shift -= 2u) {
    let step = vec4u(1u, 2u, 3u, 0u) << vec4u(shift - 2u);
    let heavy = weigh(block, vec4u(threshold) + step, least, counting) > vec4f(limit);
    threshold += select(select(select(step.w, step.x, heavy.x), step.y, heavy.y), step.z, heavy.z);
  }
  return threshold;
}

// What a row keeps: the keys above `threshold`, and of those equal to it the first `ties`.
struct Kept { threshold: u32, ties: f32 }

fn keep(block: Block) -> Kept {
  var kept = Kept(0u, 3.4e38);
  if (params.top_k > 0u && params.top_k < params.columns) {
    kept.threshold = searchThreshold(block, f32(params.top_k) - 0.5, 0u, true);
  }
  if (params.top_p < 1.0) {
    let least = kept.threshold;
    let limit = params.top_p * weigh(block, vec4u(), least, false).x;
    kept.threshold = searchThreshold(block, limit, least, false);
    // A token stays while those before it weigh no more than the limit; equal ones come in the order of their columns.
    let above = weigh(block, vec4u(kept.threshold + 1u), least, false).x;
    kept.ties = floor((limit - above) / preciseExp(numberOf(kept.threshold) - block.maximum)) + 1.0;
  }
  return kept;
}

// How many keys equal to the threshold lie in the columns of the lanes before this one.
fn tiesBefore(block: Block, kept: Kept) -> f32 {
  var count = 0.0;
  for (var i = block.first; i < block.end; i++) {
    count += select(0.0, 1.0, keyOf(scores[block.base + i]) == kept.threshold);
  }
  return rowPrefix(count, block.lane).x;
}

// Whether a key is kept; counts the ties that it passes.
fn isKept(key: u32, kept: Kept, ties: ptr<function, f32>) -> bool {
  if (key != kept.threshold) { return key > kept.threshold; }
  *ties += 1.0;
  return *ties <= kept.ties;
}

@compute @workgroup_size(THREADS)
fn filter_row(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let block = blockOf(flatIndex(w, n, l), l);
  let kept = keep(block);
  var ties = tiesBefore(block, kept);
  if (flatIndex(w, n, l) / LANES >= params.rows) { return; }
  for (var i = block.first; i < block.end; i++) {
    let score = scores[block.base + i];
    // Minus infinity.
    filtered[block.base + i] = select(0xff800000u, bitcast<u32>(score), isKept(keyOf(score), kept, &ties));
  }
}

@compute @workgroup_size(THREADS)
fn draw(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let block = blockOf(flatIndex(w, n, l), l);
  let kept = keep(block);
  let earlier = tiesBefore(block, kept);
  var ties = earlier;
  var mass = 0.0;
  for (var chunk = block.first; chunk < block.end; chunk += 128u) {
    var part = 0.0;
    for (var i = chunk; i < min(chunk + 128u, block.end); i++) {
      let score = scores[block.base + i];
      if (isKept(keyOf(score), kept, &ties)) { part += preciseExp(score - block.maximum); }
    }
    mass += part;
  }
  let sums = rowPrefix(mass, l);
  if (flatIndex(w, n, l) / LANES >= params.rows) { return; }
  let bits = philox(vec4u(params.position, 0u, 0u, 1u), seeds[block.row]);
  // Rounding must not carry the aim to the end of the last interval, so the number under the total bounds it.
  let aim = min(unitInterval(bits.x) * sums.z, bitcast<f32>(bitcast<u32>(sums.z) - 1u));
  if (aim < sums.x || aim >= sums.y) { return; }
  // The last kept column that starts at or before the aim.
  var token = 0u;
  var start = 0.0;
  ties = earlier;
  for (var chunk = block.first; chunk < block.end; chunk += 128u) {
    var part = 0.0;
    for (var i = chunk; i < min(chunk + 128u, block.end); i++) {
      let score = scores[block.base + i];
      let weight = preciseExp(score - block.maximum);
      if (isKept(keyOf(score), kept, &ties) && weight > 0.0) {
        if (start + part <= aim - sums.x) { token = i; }
        part += weight;
      }
    }
    start += part;
    if (start > aim - sums.x) { break; }
  }
  tokens[block.row * params.steps + params.position] = token;
  for (var copy = 0u; copy < params.copies; copy++) { next[block.row * params.copies + copy] = token; }
}

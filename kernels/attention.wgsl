// Attention in blocks of rows of scores, for adapters where matrix products are fastest: between the products, scores become
// probabilities, and both with their gradients become what the next products need. LANES invocations share a row (see lanes.wgsl).

// A block holds rows (images, heads, block_queries) of the first `block_keys` keys, in `packs`. `first_head`: head of its first row,
// counted over all images.
// `causal` 1: query number i of an image sees the keys 0 ... i + diagonal. `probability`, `factor`, `seed` ...: dropout.
struct Params {
  rows: u32, first_row: u32, first_head: u32, first_query: u32, block_queries: u32, queries: u32, keys: u32,
  block_keys: u32, packs: u32,
  causal: u32, diagonal: u32, probability: f32, factor: f32, seed: u32, step: u32, stream: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<Pack>;     // (rows, packs); become the probabilities
@group(0) @binding(2) var<storage, read_write> gradients: array<Pack>;  // (rows, packs): of the probabilities; become those of the scores
@group(0) @binding(3) var<storage, read_write> newLogSums: array<f32>;  // (heads, queries): log of the sum of e^score
@group(0) @binding(3) var<storage, read> logSums: array<f32>;
@group(0) @binding(4) var<storage, read> dots: array<f32>;              // (heads, queries): sum of the output times its gradient

struct Row {
  // First pack in the block.
  base: u32,
  // Keys that the row's query sees.
  seen: u32,
  // Number among (heads, queries).
  number: u32,
}

fn rowOf(row: u32) -> Row {
  let in_block = params.first_row + row;
  let head = in_block / params.block_queries;
  let query = params.first_query + in_block - head * params.block_queries;
  let seen = select(params.block_keys, min(params.block_keys, query + params.diagonal + 1u), params.causal != 0u);
  return Row(row * params.packs, seen, (params.first_head + head) * params.queries + query);
}

// Scores of a pack, `HIDDEN` for keys that the query does not see.
fn valuesOf(base: u32, seen: u32, pack: u32) -> Pack {
  return select(Pack(HIDDEN), scores[base + min(pack, params.packs - 1u)], packColumns(pack) < Pack(f32(seen)));
}

// What dropout multiplies the probabilities of a pack by.
fn keptOf(row: Row, pack: u32) -> Pack {
  if (params.probability == 0.0) { return Pack(1.0); }
  let blocks = (params.keys + 3u) / 4u;
  let block = row.number * blocks + pack * PACK_WIDTH / 4u;
  let bits = philox(vec4u(block, params.stream, params.step, 0u), vec2u(params.seed, 0u));
  let numbers = vec4f(unitInterval(bits.x), unitInterval(bits.y), unitInterval(bits.z), unitInterval(bits.w));
  return select(Pack(0.0), Pack(params.factor), packOwn(numbers, pack) >= Pack(params.probability));
}

// Scores to probabilities, in two walks: the maximum and the sum of exponentials, then the values.
@compute @workgroup_size(THREADS)
fn probabilities(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l) / LANES;
  let exists = i < params.rows;
  let row = rowOf(min(i, params.rows - 1u));
  let first = l % LANES;
  let packs = (row.seen + PACK_WIDTH - 1u) / PACK_WIDTH;
  let found = rowExponentials(row.base, row.seen, l);
  if (!exists) { return; }
  if (first == 0u) { newLogSums[row.number] = found.x + preciseLog(found.y); }
  let share = 1.0 / found.y;
  for (var pack = first; pack < packs; pack += LANES) {
    scores[row.base + pack] = packExp(valuesOf(row.base, row.seen, pack) - found.x) * share * keptOf(row, pack);
  }
  for (var pack = first + (max(packs, first) - first + LANES - 1u) / LANES * LANES; pack < params.packs; pack += LANES) {
    scores[row.base + pack] = Pack();
  }
}

// From the scores again: the probabilities as dropout left them, and from the gradients by those the gradients by the scores.
@compute @workgroup_size(THREADS)
fn score_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.rows * params.packs) { return; }
  let row = rowOf(i / params.packs);
  let pack = i - row.base;
  let probability = packExp(valuesOf(row.base, row.seen, pack) - logSums[row.number]);
  let kept = keptOf(row, pack);
  let gradient = gradients[i];
  scores[i] = probability * kept;
  gradients[i] = probability * (kept * gradient - dots[row.number]);
}

// One decoding step of attention: the new token's heads are turned, its key and value appended to a cache, and the cache attended to. The
// cache alone may be f16.

// Keys whose scores are held at a time.
const CHUNK = 256u;

var<workgroup> query: array<vec4f, PACKS>;
var<workgroup> totals: array<vec4f, PACKS>;
var<workgroup> scores: array<f32, CHUNK>;

// A workgroup an image and key head, for all query heads that look at it. LANES are all of its invocations.
@compute @workgroup_size(THREADS)
fn attend(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let image = w.y;
  let row = image * (params.heads + 2u * params.kv_heads);
  let cached = (image * params.kv_heads + w.x) * params.room * PACKS;
  let newest = cached + params.position * PACKS;
  for (var pack = l; pack < PACKS; pack += THREADS) {
    key[newest + pack] = Stored4(turned((row + params.heads + w.x) * PACKS, pack));
    value[newest + pack] = Stored4(qkv[(row + params.heads + params.kv_heads + w.x) * PACKS + pack]);
  }
  let group = params.heads / params.kv_heads;
  for (var head = w.x * group; head < (w.x + 1u) * group; head++) {
    for (var pack = l; pack < PACKS; pack += THREADS) {
      query[pack] = params.scale * turned((row + head) * PACKS, pack);
      totals[pack] = vec4f();
    }
    storageBarrier();
    workgroupBarrier();
    var maximum = -3.4e38;
    var sum = 0.0;
    for (var first = 0u; first <= params.position; first += CHUNK) {
      let end = min(first + CHUNK, params.position + 1u);
      var highest = maximum;
      for (var token = first + l; token < end; token += THREADS) {
        var score = 0.0;
        for (var pack = 0u; pack < PACKS; pack++) { score += dot(query[pack], vec4f(key[cached + token * PACKS + pack])); }
        scores[token - first] = score;
        highest = max(highest, score);
      }
      highest = rowMaximum(highest, l);
      var part = 0.0;
      for (var token = first + l; token < end; token += THREADS) {
        let weight = preciseExp(scores[token - first] - highest);
        scores[token - first] = weight;
        part += weight;
      }
      // What was summed up so far is relative to the maximum so far.
      let rescale = preciseExp(maximum - highest);
      sum = sum * rescale + rowSum(vec4f(part), l).x;
      maximum = highest;
      for (var pack = l; pack < PACKS; pack += THREADS) {
        var total = totals[pack] * rescale;
        for (var token = first; token < end; token++) {
          total += scores[token - first] * vec4f(value[cached + token * PACKS + pack]);
        }
        totals[pack] = total;
      }
      workgroupBarrier();
    }
    for (var pack = l; pack < PACKS; pack += THREADS) {
      mixed[(image * params.heads + head) * PACKS + pack] = totals[pack] / sum;
    }
  }
}

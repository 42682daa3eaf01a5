// Rows shared by LANES invocations: 1 on adapters that compute on the CPU, where barriers and workgroup memory are slow; a whole
// workgroup elsewhere. Every invocation of a workgroup must call these functions, also those whose row does not exist.

override LANES: u32 = 1;

var<workgroup> shared_values: array<vec4f, THREADS>;

// Sum over the lanes of a row, the same in each.
fn rowSum(value: vec4f, lane: u32) -> vec4f {
  if (LANES == 1u) { return value; }
  shared_values[lane] = value;
  workgroupBarrier();
  for (var span = LANES / 2u; span > 0u; span /= 2u) {
    if (lane % LANES < span) { shared_values[lane] += shared_values[lane + span]; }
    workgroupBarrier();
  }
  let sum = shared_values[lane - lane % LANES];
  workgroupBarrier();
  return sum;
}

// Maximum over the lanes of a row, the same in each.
fn rowMaximum(value: f32, lane: u32) -> f32 {
  if (LANES == 1u) { return value; }
  shared_values[lane].x = value;
  workgroupBarrier();
  for (var span = LANES / 2u; span > 0u; span /= 2u) {
    if (lane % LANES < span) { shared_values[lane].x = max(shared_values[lane].x, shared_values[lane + span].x); }
    workgroupBarrier();
  }
  let maximum = shared_values[lane - lane % LANES].x;
  workgroupBarrier();
  return maximum;
}

// Sums over the lanes of a row in their order: of those before this one, of those up to it, and of all.
fn rowPrefix(value: f32, lane: u32) -> vec3f {
  if (LANES == 1u) { return vec3f(0.0, value, value); }
  shared_values[lane].x = value;
  workgroupBarrier();
  let first = lane - lane % LANES;
  var sums = vec3f();
  for (var other = first; other < first + LANES; other++) {
    if (other == lane) { sums.x = sums.z; }
    sums.z += shared_values[other].x;
    if (other == lane) { sums.y = sums.z; }
  }
  workgroupBarrier();
  return sums;
}

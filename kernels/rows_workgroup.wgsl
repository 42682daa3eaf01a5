// How rows are given to lanes: one workgroup a row, so that neighboring lanes read neighboring elements. Twin of rows_lane.wgsl.

override LANES: u32 = THREADS;

var<workgroup> shares: array<f32, THREADS>;

fn rowOf(workgroup: vec3u, workgroups: vec3u, lane: u32) -> u32 {
  return workgroup.y * workgroups.x + workgroup.x;
}

fn laneOf(lane: u32) -> u32 {
  return lane;
}

// Sum over the lanes of a row; THREADS is a power of two. Called in uniform control flow only.
fn rowSum(value: f32, lane: u32) -> f32 {
  shares[lane] = value;
  workgroupBarrier();
  for (var step = THREADS / 2u; step > 0u; step /= 2u) {
    if (lane < step) { shares[lane] += shares[lane + step]; }
    workgroupBarrier();
  }
  let total = shares[0];
  workgroupBarrier();
  return total;
}

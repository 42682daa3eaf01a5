// How rows are given to lanes: one lane a row, for software adapters, where waiting for other lanes is what costs.

const LANES = 1u;

fn rowOf(workgroup: vec3u, workgroups: vec3u, lane: u32) -> u32 {
  return flatIndex(workgroup, workgroups, lane);
}

fn laneOf(lane: u32) -> u32 {
  return 0u;
}

// Sum over the lanes of a row.
fn rowSum(value: f32, lane: u32) -> f32 {
  return value;
}

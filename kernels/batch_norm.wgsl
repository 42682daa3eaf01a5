// What batch norm adds to group_norm.wgsl: running averages of the batches' moments, and statistics from them.

struct Params { channels: u32, count: f32, momentum: f32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> moments: array<f32>; // (2, channels): mean, sum of squared deviations
@group(0) @binding(2) var<storage, read_write> runningMean: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read_write> runningVariance: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read_write> batchesTracked: array<u32>; // one number
@group(0) @binding(5) var<storage, read_write> statistics: array<f32>; // (2, channels): mean, 1 / standard deviation

// Moves the running averages towards this batch; the variance that is averaged is unbiased.
@compute @workgroup_size(THREADS)
fn update(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = flatIndex(w, n, l);
  if (c >= params.channels) { return; }
  let variance = moments[params.channels + c] / (params.count - 1.0);
  runningMean[c] = (1.0 - params.momentum) * runningMean[c] + params.momentum * moments[c];
  runningVariance[c] = (1.0 - params.momentum) * runningVariance[c] + params.momentum * variance;
  if (c == 0u) { batchesTracked[0] += 1u; }
}

@compute @workgroup_size(THREADS)
fn running_statistics(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = flatIndex(w, n, l);
  if (c >= params.channels) { return; }
  statistics[c] = runningMean[c];
  statistics[params.channels + c] = 1.0 / sqrt(runningVariance[c] + params.eps);
}

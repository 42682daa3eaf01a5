// Softmax over the last axis and its relatives, element by element, from the maximum and the sum of exponentials of each row.

// `first_row`: index of the first bound row of x. `gradient_stride`: 1 if each row has its own upstream gradient, 0 if all share one.
struct Params { count: u32, columns: u32, first_row: u32, gradient_stride: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> maxima: array<f32>;
@group(0) @binding(3) var<storage, read> sums: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> targets: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

// y = e^(x - max) / sum
@compute @workgroup_size(THREADS)
fn softmax(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let row = params.first_row + i / params.columns;
  y[i] = preciseExp(x[i] - maxima[row]) / sums[row];
}

// From y (in x) and the sum of y dy of each row: dx = y (dy - sum)
@compute @workgroup_size(THREADS)
fn softmax_backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  y[i] = x[i] * (dy[i] - sums[params.first_row + i / params.columns]);
}

// y = x - max - log(sum)
@compute @workgroup_size(THREADS)
fn log_softmax(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let row = params.first_row + i / params.columns;
  y[i] = (x[i] - maxima[row]) - preciseLog(sums[row]);
}

// From y (in x) and the sum of dy of each row: dx = dy - e^y sum
@compute @workgroup_size(THREADS)
fn log_softmax_backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  y[i] = dy[i] - preciseExp(x[i]) * sums[params.first_row + i / params.columns];
}

// One invocation a row: y = max + log(sum) - x[target]; NaN for a target that is no column.
@compute @workgroup_size(THREADS)
fn cross_entropy(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let row = params.first_row + i;
  let target_column = targets[row];
  if (target_column >= params.columns) {
    y[row] = bitcast<f32>(target_column | 0x7fc00000u);
    return;
  }
  y[row] = (maxima[row] - x[i * params.columns + target_column]) + preciseLog(sums[row]);
}

// dx = factor dy (e^(x - max) / sum - [column is the target])
@compute @workgroup_size(THREADS)
fn cross_entropy_backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let row = params.first_row + i / params.columns;
  let probability = preciseExp(x[i] - maxima[row]) / sums[row];
  let expected = select(0.0, 1.0, i % params.columns == targets[row]);
  y[i] = params.factor * dy[row * params.gradient_stride] * (probability - expected);
}

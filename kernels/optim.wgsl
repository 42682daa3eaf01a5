// Updates of parameters in place.

// adam: see its comment; average: `alpha` is 1 minus the decay; accumulate: `alpha` is the factor; root: it multiplies the norm.
// Unused fields are 0.
struct Params {
  count: u32, each: u32, decoupled: u32, clip: u32,
  max_norm: f32, beta2: f32, one_minus_beta1: f32, one_minus_beta2: f32,
  eps: f32, step_size: f32, root_correction: f32, weight_decay: f32, shrink: f32, alpha: f32, gradient_scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;
@group(0) @binding(2) var<storage, read> x: array<Pack>;
@group(0) @binding(3) var<storage, read_write> first_moment: array<Pack>;
@group(0) @binding(4) var<storage, read_write> second_moment: array<Pack>;
@group(0) @binding(5) var<storage, read> norm: array<f32>;
@group(0) @binding(6) var<storage, read_write> averages: array<Pack>;
@group(0) @binding(3) var<storage, read_write> other: array<Pack>;

fn clipFactor(gradient_norm: f32) -> f32 {
  return min(1.0, params.max_norm / (gradient_norm + 1e-6));
}

// One step of Adam for elements i of parameter y with gradient x, which returns their new values. The gradient is multiplied by
// gradient_scale and clipped by the norm of all. step_size = learning rate / (1 - beta1^t), root_correction = sqrt(1 - beta2^t),
// shrink = 1 - learning rate * weight decay; the host computes them in double precision.
fn adamValue(i: u32, gradient_norm: f32) -> Pack {
  let factor = params.gradient_scale * select(1.0, clipFactor(gradient_norm), params.clip > 0u);
  var p = y[i];
  var g = factor * x[i];
  if (params.decoupled > 0u) { p *= params.shrink; } else { g += params.weight_decay * p; }
  let m = first_moment[i] + params.one_minus_beta1 * (g - first_moment[i]);
  let v = params.beta2 * second_moment[i] + params.one_minus_beta2 * g * g;
  first_moment[i] = m;
  second_moment[i] = v;
  return p - params.step_size * (m / (sqrt(v) / params.root_correction + params.eps));
}

fn averageValue(average: Pack, value: Pack) -> Pack {
  return average - params.alpha * (average - value);
}

// Where the norm is not finite, neither parameters nor moments change.
@compute @workgroup_size(THREADS)
fn adam(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let gradient_norm = norm[0];
  if (!isFinite(gradient_norm)) { return; }
  let span = spanOf(w, n, l);
  for (var i = span.first; i < span.end; i += span.step) { y[i] = adamValue(i, gradient_norm); }
}

// The same, and the average follows the parameter.
@compute @workgroup_size(THREADS)
fn adam_averaged(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let gradient_norm = norm[0];
  if (!isFinite(gradient_norm)) { return; }
  let span = spanOf(w, n, l);
  for (var i = span.first; i < span.end; i += span.step) {
    let value = adamValue(i, gradient_norm);
    y[i] = value;
    averages[i] = averageValue(averages[i], value);
  }
}

// One invocation: y = alpha sqrt(x), the norm from the sum of squares.
@compute @workgroup_size(THREADS)
fn root(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  if (flatIndex(w, n, l) == 0u) { y[0] = params.alpha * sqrt(x[0]); }
}

// One invocation: y = factor of gradients whose norm is norm.
@compute @workgroup_size(THREADS)
fn clip_factor(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  if (flatIndex(w, n, l) == 0u) { y[0] = Pack(clipFactor(norm[0])); }
}

// y -= alpha (y - x)
@compute @workgroup_size(THREADS)
fn average(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  for (var i = span.first; i < span.end; i += span.step) { y[i] = averageValue(y[i], x[i]); }
}

// y += alpha x
@compute @workgroup_size(THREADS)
fn accumulate(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  for (var i = span.first; i < span.end; i += span.step) { y[i] = y[i] + params.alpha * x[i]; }
}

// Exchanges y and other.
@compute @workgroup_size(THREADS)
fn exchange(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  for (var i = span.first; i < span.end; i += span.step) {
    let kept = y[i];
    y[i] = other[i];
    other[i] = kept;
  }
}

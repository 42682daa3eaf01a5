// Functions of one element and their derivatives. KIND numbers them as KINDS in activation.ts does.

override KIND: u32 = 0;

struct Params { count: u32, alpha: f32, beta: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read> dy: array<Stored>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>;

// sqrt(2 / pi), the factor of gelu's tanh form; 1 / sqrt(2); and 1 / sqrt(2 pi), the height of the normal density.
const TANH_FACTOR = 0.7978845608;
const ROOT_HALF = 0.7071067812;
const NORMAL_HEIGHT = 0.3989422804;

fn value(v: f32) -> f32 {
  switch KIND {
    case 0u: { return v * sigmoid(v); }
    case 1u: { return select(v, params.alpha * v, v <= 0.0); }
    case 2u: { return v * sigmoid(2.0 * TANH_FACTOR * fma(0.044715 * v * v, v, v)); }
    case 3u: { return 0.5 * v * (1.0 + preciseErf(ROOT_HALF * v)); }
    case 4u: { return sigmoid(v); }
    case 5u: { return select(max(v, 0.0) + preciseLogOnePlus(preciseExp(-abs(v))), v, v > 20.0); }
    case 6u: { return abs(v); }
    case 7u: { return v * v; }
    default: { return select(select(v, params.beta, v > params.beta), params.alpha, v < params.alpha); }
  }
}

fn derivative(v: f32) -> f32 {
  switch KIND {
    case 0u: {
      let s = sigmoid(v);
      return fma(v * s, 1.0 - s, s);
    }
    case 1u: { return select(1.0, params.alpha, v <= 0.0); }
    case 2u: {
      let s = sigmoid(2.0 * TANH_FACTOR * fma(0.044715 * v * v, v, v));
      return fma(v * s * (1.0 - s), 2.0 * TANH_FACTOR * fma(0.134145 * v, v, 1.0), s);
    }
    case 3u: {
      return fma(v * NORMAL_HEIGHT, preciseExp(-0.5 * v * v), 0.5 * (1.0 + preciseErf(ROOT_HALF * v)));
    }
    case 4u: {
      let s = sigmoid(v);
      return s * (1.0 - s);
    }
    case 5u: { return select(sigmoid(v), 1.0, v > 20.0); }
    case 6u: { return sign(v); }
    case 7u: { return 2.0 * v; }
    default: { return select(0.0, 1.0, v >= params.alpha && v <= params.beta); }
  }
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { y[i] = Stored(value(f32(x[i]))); }
}

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i < params.count) { dx[i] = Stored(f32(dy[i]) * derivative(f32(x[i]))); }
}

// Functions of one element and their derivatives, of the inputs `x` and `dy`. KIND numbers them as KINDS in activation.ts does.

override KIND: u32 = 0;

// `count`: packs; `each`: of an invocation.
struct Params { count: u32, each: u32, alpha: f32, beta: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> y: array<StoredPack>;
@group(0) @binding(3) var<storage, read_write> dx: array<StoredPack>;

// sqrt(2 / pi), the factor of gelu's tanh form; 1 / sqrt(2); and 1 / sqrt(2 pi), the height of the normal density.
const TANH_FACTOR = 0.7978845608;
const ROOT_HALF = 0.7071067812;
const NORMAL_HEIGHT = 0.3989422804;

fn value(v: Pack) -> Pack {
  switch KIND {
    case 0u: { return v * packSigmoid(v); }
    case 1u: { return select(v, params.alpha * v, v <= Pack()); }
    case 2u: { return v * packSigmoid(2.0 * TANH_FACTOR * fma(0.044715 * v * v, v, v)); }
    case 3u: { return 0.5 * v * (1.0 + packErf(ROOT_HALF * v)); }
    case 4u: { return packSigmoid(v); }
    case 5u: { return select(max(v, Pack()) + packLogOnePlus(packExp(-abs(v))), v, v > Pack(20.0)); }
    case 6u: { return abs(v); }
    case 7u: { return v * v; }
    default: {
      let minimum = Pack(params.alpha);
      let maximum = Pack(params.beta);
      return packKeepNan(select(select(v, maximum, v > maximum), minimum, v < minimum), v);
    }
  }
}

fn derivative(v: Pack) -> Pack {
  switch KIND {
    case 0u: {
      let s = packSigmoid(v);
      return fma(v * s, 1.0 - s, s);
    }
    case 1u: { return select(Pack(1.0), Pack(params.alpha), v <= Pack()); }
    case 2u: {
      let s = packSigmoid(2.0 * TANH_FACTOR * fma(0.044715 * v * v, v, v));
      return fma(v * s * (1.0 - s), 2.0 * TANH_FACTOR * fma(0.134145 * v, v, Pack(1.0)), s);
    }
    case 3u: {
      return fma(v * NORMAL_HEIGHT, packExp(-0.5 * v * v), 0.5 * (1.0 + packErf(ROOT_HALF * v)));
    }
    case 4u: {
      let s = packSigmoid(v);
      return s * (1.0 - s);
    }
    case 5u: { return select(packSigmoid(v), Pack(1.0), v > Pack(20.0)); }
    case 6u: { return sign(v); }
    case 7u: { return 2.0 * v; }
    default: {
      return select(Pack(), Pack(1.0), (v >= Pack(params.alpha)) & (v <= Pack(params.beta)));
    }
  }
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  for (var first = span.first; first < span.end; first += 4u * span.step) {
    for (var j = 0u; j < 4u; j++) {
      let i = first + j * span.step;
      if (i < span.end) { y[i] = StoredPack(value(xAt(i))); }
    }
  }
}

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  for (var first = span.first; first < span.end; first += 4u * span.step) {
    for (var j = 0u; j < 4u; j++) {
      let i = first + j * span.step;
      if (i < span.end) { dx[i] = StoredPack(dyAt(i) * derivative(xAt(i))); }
    }
  }
}

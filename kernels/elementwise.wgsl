// Arithmetic on equally long arrays, the inputs `a` and `b`, with scalars from Params. An invocation loads four packs before it stores the
// first of them.

// `count`: packs; `each`: of an invocation.
struct Params { count: u32, each: u32, alpha: f32, beta: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> y: array<StoredPack>;

fn linearAt(i: u32) -> StoredPack {
  return StoredPack(params.alpha * aAt(i) + params.beta * bAt(i));
}

fn productAt(i: u32) -> StoredPack {
  return StoredPack(aAt(i) * bAt(i));
}

fn affineAt(i: u32) -> StoredPack {
  return StoredPack(params.alpha * aAt(i) + params.beta);
}

// y = alpha a + beta b
@compute @workgroup_size(THREADS)
fn linear(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  let step = span.step;
  var i = span.first;
  for (; i + 3u * step < span.end; i += 4u * step) {
    let first = linearAt(i);
    let second = linearAt(i + step);
    let third = linearAt(i + 2u * step);
    let fourth = linearAt(i + 3u * step);
    y[i] = first;
    y[i + step] = second;
    y[i + 2u * step] = third;
    y[i + 3u * step] = fourth;
  }
  for (; i < span.end; i += step) { y[i] = linearAt(i); }
}

// y = a b
@compute @workgroup_size(THREADS)
fn multiply(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  let step = span.step;
  var i = span.first;
  for (; i + 3u * step < span.end; i += 4u * step) {
    let first = productAt(i);
    let second = productAt(i + step);
    let third = productAt(i + 2u * step);
    let fourth = productAt(i + 3u * step);
    y[i] = first;
    y[i + step] = second;
    y[i + 2u * step] = third;
    y[i + 3u * step] = fourth;
  }
  for (; i < span.end; i += step) { y[i] = productAt(i); }
}

// y = alpha a + beta
@compute @workgroup_size(THREADS)
fn affine(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  let step = span.step;
  var i = span.first;
  for (; i + 3u * step < span.end; i += 4u * step) {
    let first = affineAt(i);
    let second = affineAt(i + step);
    let third = affineAt(i + 2u * step);
    let fourth = affineAt(i + 3u * step);
    y[i] = first;
    y[i + step] = second;
    y[i + 2u * step] = third;
    y[i + 3u * step] = fourth;
  }
  for (; i < span.end; i += step) { y[i] = affineAt(i); }
}

// y = alpha
@compute @workgroup_size(THREADS)
fn fill(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let span = spanOf(w, n, l);
  let value = StoredPack(Pack(params.alpha));
  for (var i = span.first; i < span.end; i += span.step) { y[i] = value; }
}

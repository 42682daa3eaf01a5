// Reductions of (outer, length, inner) to (outer, chunks, inner). Element l of the length belongs to chunk l % chunks, so that
// neighboring invocations read neighboring elements whatever `inner` is. One invocation reduces one chunk in a fixed order, into four
// partial results: the same input gives the same bits, and no long chain of additions loses digits.

// `first…`: where the bound range starts in the slice that is meant; `output_stride`: distance of two outer rows of the output.
struct Params {
  outer: u32, length: u32, inner: u32, chunks: u32,
  first: u32, first_b: u32, first_y: u32, output_stride: u32, factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;
@group(0) @binding(2) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read> shifts: array<f32>; // (outer)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

struct Chunk {
  valid: bool,
  outer: u32,
  // Index of the chunk's first element from the start of the input, of the last one plus 1, and their distance.
  at: u32, end: u32, step: u32,
  // Index of the result.
  output: u32,
}

fn chunkOf(t: u32) -> Chunk {
  let inner = t % params.inner;
  let rest = t / params.inner;
  let chunk = rest % params.chunks;
  let outer = rest / params.chunks;
  let start = outer * params.length * params.inner + inner;
  return Chunk(
    outer < params.outer,
    outer,
    start + chunk * params.inner,
    start + params.length * params.inner,
    params.chunks * params.inner,
    params.first_y + outer * params.output_stride + chunk * params.inner + inner,
  );
}

fn store(output: u32, total: vec4f) {
  y[output] = params.factor * ((total.x + total.y) + (total.z + total.w));
}

@compute @workgroup_size(THREADS)
fn sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  var total = vec4f();
  var at = c.at;
  for (; at + 3u * c.step < c.end; at += 4u * c.step) {
    let i = params.first + at;
    total += vec4f(f32(a[i]), f32(a[i + c.step]), f32(a[i + 2u * c.step]), f32(a[i + 3u * c.step]));
  }
  for (; at < c.end; at += c.step) { total.x += f32(a[params.first + at]); }
  store(c.output, total);
}

@compute @workgroup_size(THREADS)
fn sum_squares(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  var total = vec4f();
  var at = c.at;
  for (; at + 3u * c.step < c.end; at += 4u * c.step) {
    let i = params.first + at;
    let v = vec4f(f32(a[i]), f32(a[i + c.step]), f32(a[i + 2u * c.step]), f32(a[i + 3u * c.step]));
    total += v * v;
  }
  for (; at < c.end; at += c.step) {
    let v = f32(a[params.first + at]);
    total.x += v * v;
  }
  store(c.output, total);
}

@compute @workgroup_size(THREADS)
fn sum_products(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  var total = vec4f();
  var at = c.at;
  for (; at + 3u * c.step < c.end; at += 4u * c.step) {
    let i = params.first + at;
    let j = params.first_b + at;
    total += vec4f(f32(a[i]), f32(a[i + c.step]), f32(a[i + 2u * c.step]), f32(a[i + 3u * c.step])) *
      vec4f(f32(b[j]), f32(b[j + c.step]), f32(b[j + 2u * c.step]), f32(b[j + 3u * c.step]));
  }
  for (; at < c.end; at += c.step) { total.x += f32(a[params.first + at]) * f32(b[params.first_b + at]); }
  store(c.output, total);
}

// Sum of e^(a - shift) with one shift an outer row.
@compute @workgroup_size(THREADS)
fn sum_exponentials(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  let shift = shifts[params.first_b + c.outer];
  var total = vec4f();
  var at = c.at;
  for (var j = 0u; at < c.end; at += c.step) {
    total[j] += preciseExp(f32(a[params.first + at]) - shift);
    j = (j + 1u) & 3u;
  }
  store(c.output, total);
}

@compute @workgroup_size(THREADS)
fn maximum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  var largest = f32(a[params.first + c.at]);
  for (var at = c.at + c.step; at < c.end; at += c.step) { largest = max(largest, f32(a[params.first + at])); }
  y[c.output] = largest;
}

// Reductions of the inputs `a` and `b` (outer, length, inner) to (outer, chunks, inner). One invocation reduces one chunk of the length, for one pack of the
// inner axis, in a fixed order: the same input gives the same bits. Each turn of a loop adds up eight elements by themselves, so that
// no long chain of additions loses digits.

// `chunk`: elements of a chunk; `together`: chunks that take turns, element by element, so that neighboring lanes read neighbors; `first…`:
// where the bound range starts in the slice that is meant; `output_stride`: distance of two outer rows of the output. `packs`, `first…` and
// `output_stride` are in packs.
struct Params {
  outer: u32, length: u32, packs: u32, chunks: u32, chunk: u32, together: u32,
  first: u32, first_b: u32, first_y: u32, output_stride: u32, factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> y: array<Pack>;

struct Chunk {
  valid: bool,
  outer: u32,
  // Index of the chunk's first pack in a, of the last one plus 1, and their distance.
  first: u32, end: u32, step: u32,
  // Index of the result.
  output: u32,
}

fn chunkOf(t: u32) -> Chunk {
  let pack = t % params.packs;
  let rest = t / params.packs;
  let chunk = rest % params.chunks;
  let outer = rest / params.chunks;
  let start = params.first + outer * params.length * params.packs + pack;
  let output = params.first_y + outer * params.output_stride + chunk * params.packs + pack;
  // Elements of the chunks that take turns with this one.
  let block = params.together * params.chunk;
  let begin = chunk / params.together * block;
  return Chunk(
    outer < params.outer,
    outer,
    start + (begin + chunk % params.together) * params.packs,
    start + min(begin + block, params.length) * params.packs,
    params.together * params.packs,
    output,
  );
}

fn squareAt(i: u32) -> Pack {
  let value = aAt(i);
  return value * value;
}

// `offset`: what leads from an index of a to that of b.
fn productAt(i: u32, offset: u32) -> Pack {
  return aAt(i) * bAt(i + offset);
}

@compute @workgroup_size(THREADS)
fn sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  let step = c.step;
  var total = Pack();
  var i = c.first;
  for (; i + 7u * step < c.end; i += 8u * step) {
    total += ((aAt(i) + aAt(i + step)) + (aAt(i + 2u * step) + aAt(i + 3u * step))) +
      ((aAt(i + 4u * step) + aAt(i + 5u * step)) + (aAt(i + 6u * step) + aAt(i + 7u * step)));
  }
  for (; i < c.end; i += step) { total += aAt(i); }
  y[c.output] = params.factor * total;
}

@compute @workgroup_size(THREADS)
fn sum_squares(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  let step = c.step;
  var total = Pack();
  var i = c.first;
  for (; i + 7u * step < c.end; i += 8u * step) {
    total += ((squareAt(i) + squareAt(i + step)) + (squareAt(i + 2u * step) + squareAt(i + 3u * step))) +
      ((squareAt(i + 4u * step) + squareAt(i + 5u * step)) + (squareAt(i + 6u * step) + squareAt(i + 7u * step)));
  }
  for (; i < c.end; i += step) { total += squareAt(i); }
  y[c.output] = params.factor * total;
}

@compute @workgroup_size(THREADS)
fn sum_products(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = chunkOf(flatIndex(w, n, l));
  if (!c.valid) { return; }
  let step = c.step;
  let offset = params.first_b - params.first;
  var total = Pack();
  var i = c.first;
  for (; i + 7u * step < c.end; i += 8u * step) {
    total += ((productAt(i, offset) + productAt(i + step, offset)) + (productAt(i + 2u * step, offset) + productAt(i + 3u * step, offset))) +
      ((productAt(i + 4u * step, offset) + productAt(i + 5u * step, offset)) + (productAt(i + 6u * step, offset) + productAt(i + 7u * step, offset)));
  }
  for (; i < c.end; i += step) { total += productAt(i, offset); }
  y[c.output] = params.factor * total;
}

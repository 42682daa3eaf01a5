// Normalization of the rows of a matrix: layer norm (CENTERED) by mean and standard deviation, RMS norm by the root mean square.

override CENTERED: u32 = 1u;

struct Params {
  rows: u32,
  packs: u32, // packs of a row
  width: f32, // elements of a row
  chunk: u32, // rows of a chunk
  chunks: u32,
  first: u32, // first chunk of this range
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>; // (rows, packs)
@group(0) @binding(2) var<storage, read> dy: array<Pack>; // (rows, packs)
@group(0) @binding(3) var<storage, read> weight: array<Pack>; // (packs)
@group(0) @binding(4) var<storage, read> bias: array<Pack>; // (packs); not read unless CENTERED
@group(0) @binding(5) var<storage, read> statistics: array<vec2f>; // (rows): mean (0 unless CENTERED), 1 / deviation
@group(0) @binding(5) var<storage, read_write> newStatistics: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> y: array<Pack>; // (rows, packs)

@group(0) @binding(6) var<storage, read_write> partial: array<Pack>; // (chunks, 2, packs)
@group(0) @binding(1) var<storage, read> chunkSums: array<Pack>; // (chunks, 2, packs)
@group(0) @binding(5) var<storage, read_write> dbias: array<Pack>; // (packs)
@group(0) @binding(6) var<storage, read_write> dweight: array<Pack>; // (packs)

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  // Lanes beyond the last row walk nothing but stay, since those of a row wait for each other.
  let row = rowOf(w, n, l);
  let begin = row * params.packs;
  let end = select(begin, begin + params.packs, row < params.rows);
  let first = begin + laneOf(l);
  var mean = 0.0;
  if (CENTERED == 1u) {
    var sum = Pack();
    for (var at = first; at < end; at += LANES) { sum += x[at]; }
    mean = rowSum(packSum(sum), l) / params.width;
  }
  var squares = Pack();
  for (var at = first; at < end; at += LANES) {
    let deviation = x[at] - mean;
    squares += deviation * deviation;
  }
  let scale = 1.0 / sqrt(rowSum(packSum(squares), l) / params.width + params.eps);
  for (var at = first; at < end; at += LANES) {
    let u = (x[at] - mean) * scale * weight[at - begin];
    if (CENTERED == 1u) { y[at] = u + bias[at - begin]; } else { y[at] = u; }
  }
  if (row < params.rows && laneOf(l) == 0u) { newStatistics[row] = vec2f(mean, scale); }
}

// dx = (w dy - mean(w dy) - xhat mean(w dy xhat)) / deviation, the first mean only where the forward pass subtracted one.
@compute @workgroup_size(THREADS)
fn input_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = rowOf(w, n, l);
  let begin = row * params.packs;
  let end = select(begin, begin + params.packs, row < params.rows);
  let first = begin + laneOf(l);
  let mean = statistics[min(row, params.rows - 1u)].x;
  let scale = statistics[min(row, params.rows - 1u)].y;
  var sum = Pack();
  var product = Pack();
  for (var at = first; at < end; at += LANES) {
    let du = weight[at - begin] * dy[at];
    sum += du;
    product += du * (x[at] - mean) * scale;
  }
  var meanGradient = 0.0;
  if (CENTERED == 1u) { meanGradient = rowSum(packSum(sum), l) / params.width; }
  let meanProduct = rowSum(packSum(product), l) / params.width;
  for (var at = first; at < end; at += LANES) {
    let xhat = (x[at] - mean) * scale;
    y[at] = scale * (weight[at - begin] * dy[at] - meanGradient - xhat * meanProduct);
  }
}

// Sums of dy and of dy xhat for each column over a chunk of rows; the last chunk may be shorter.
@compute @workgroup_size(THREADS)
fn chunk_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.chunks * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  var sum = Pack();
  var product = Pack();
  for (var row = chunk * params.chunk; row < min((chunk + 1u) * params.chunk, params.rows); row++) {
    let at = row * params.packs + pack;
    sum += dy[at];
    product += dy[at] * (x[at] - statistics[row].x) * statistics[row].y;
  }
  let at = 2u * (params.first + chunk) * params.packs + pack;
  partial[at] = sum;
  partial[at + params.packs] = product;
}

@compute @workgroup_size(THREADS)
fn affine_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let pack = flatIndex(w, n, l);
  if (pack >= params.packs) { return; }
  var sum = Pack();
  var product = Pack();
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    let at = 2u * chunk * params.packs + pack;
    sum += chunkSums[at];
    product += chunkSums[at + params.packs];
  }
  if (CENTERED == 1u) { dbias[pack] = sum; }
  dweight[pack] = product;
}

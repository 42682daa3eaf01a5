// Normalization of the rows of a matrix: layer norm (CENTERED) by mean and standard deviation, RMS norm by the root mean square. With
// MODULATED, the result of each image's rows is multiplied by 1 + scale and shifted (Peebles & Xie 2023).
//
// Inputs: `x`, `dy` (rows, packs); `weight` (packs); `scale`, `shift` (images, packs). `bias` is not read unless CENTERED, `scale`
// and `shift` not unless MODULATED.

override CENTERED: u32 = 1u;
override MODULATED: u32 = 0u;

struct Params {
  rows: u32,
  packs: u32, // packs of a row
  width: f32, // elements of a row
  first_row: u32, // of the bound rows
  image_rows: u32, // rows that share a scale and a shift, and chunks that hold whole parts of them
  chunk: u32, // rows of a chunk
  chunks: u32, // chunks of this range
  image_chunks: u32, // chunks of an image
  first: u32, // first chunk of this range
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> bias: array<Pack>; // (packs)
@group(0) @binding(5) var<storage, read> statistics: array<vec2f>; // (rows): mean (0 unless CENTERED), 1 / deviation
@group(0) @binding(5) var<storage, read_write> newStatistics: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> y: array<StoredPack>; // (rows, packs)

@group(0) @binding(6) var<storage, read_write> partial: array<Pack>; // (chunks, 2, packs)
@group(0) @binding(1) var<storage, read> chunkSums: array<Pack>; // (chunks, 2, packs)
@group(0) @binding(5) var<storage, read_write> dbias: array<Pack>; // (packs)
@group(0) @binding(6) var<storage, read_write> dweight: array<Pack>; // (packs)
@group(0) @binding(5) var<storage, read_write> dscale: array<StoredPack>; // (images, packs)
@group(0) @binding(6) var<storage, read_write> dshift: array<StoredPack>; // (images, packs)
@group(0) @binding(8) var<storage, read_write> imageWeights: array<Pack>; // (images, packs): what an image adds to dweight

// Gradient by the normalized and weighted row, of one pack.
fn upstream(at: u32, pack: u32, image: u32) -> Pack {
  let gradient = dyAt(at);
  if (MODULATED == 0u) { return gradient; }
  return gradient * (1.0 + scaleAt(image * params.packs + pack));
}

fn normalized(at: u32, pack: u32, image: u32, mean: f32, factor: f32) -> Pack {
  let u = (xAt(at) - mean) * factor * weightAt(pack);
  if (CENTERED == 1u) { return u + bias[pack]; }
  if (MODULATED == 0u) { return u; }
  return fma(u, 1.0 + scaleAt(image * params.packs + pack), shiftAt(image * params.packs + pack));
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  // Lanes beyond the last row walk nothing but stay, since those of a row wait for each other.
  let row = rowOf(w, n, l);
  let image = (params.first_row + row) / params.image_rows;
  let begin = row * params.packs;
  let end = select(begin, begin + params.packs, row < params.rows);
  let first = begin + laneOf(l);
  var mean = 0.0;
  if (CENTERED == 1u) {
    var sum = Pack();
    for (var at = first; at < end; at += LANES) { sum += xAt(at); }
    mean = rowSum(packSum(sum), l) / params.width;
  }
  // Four packs at a time: a loop's end costs as much as a load.
  var squares = Pack();
  var at = first;
  for (; at + 3u * LANES < end; at += 4u * LANES) {
    let a = xAt(at) - mean;
    let b = xAt(at + LANES) - mean;
    let c = xAt(at + 2u * LANES) - mean;
    let d = xAt(at + 3u * LANES) - mean;
    squares += (a * a + b * b) + (c * c + d * d);
  }
  for (; at < end; at += LANES) {
    let deviation = xAt(at) - mean;
    squares += deviation * deviation;
  }
  let factor = 1.0 / sqrt(rowSum(packSum(squares), l) / params.width + params.eps);
  at = first;
  for (; at + 3u * LANES < end; at += 4u * LANES) {
    let pack = at - begin;
    y[at] = StoredPack(normalized(at, pack, image, mean, factor));
    y[at + LANES] = StoredPack(normalized(at + LANES, pack + LANES, image, mean, factor));
    y[at + 2u * LANES] = StoredPack(normalized(at + 2u * LANES, pack + 2u * LANES, image, mean, factor));
    y[at + 3u * LANES] = StoredPack(normalized(at + 3u * LANES, pack + 3u * LANES, image, mean, factor));
  }
  for (; at < end; at += LANES) { y[at] = StoredPack(normalized(at, at - begin, image, mean, factor)); }
  if (row < params.rows && laneOf(l) == 0u) { newStatistics[row] = vec2f(mean, factor); }
}

// dx = (w u - mean(w u) - xhat mean(w u xhat)) / deviation with the upstream gradient u, the first mean only where the forward pass
// subtracted one.
@compute @workgroup_size(THREADS)
fn input_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = rowOf(w, n, l);
  let image = (params.first_row + row) / params.image_rows;
  let begin = row * params.packs;
  let end = select(begin, begin + params.packs, row < params.rows);
  let first = begin + laneOf(l);
  let mean = statistics[min(row, params.rows - 1u)].x;
  let factor = statistics[min(row, params.rows - 1u)].y;
  var sum = Pack();
  var product = Pack();
  for (var at = first; at < end; at += LANES) {
    let du = weightAt(at - begin) * upstream(at, at - begin, image);
    sum += du;
    product += du * (xAt(at) - mean) * factor;
  }
  var meanGradient = 0.0;
  if (CENTERED == 1u) { meanGradient = rowSum(packSum(sum), l) / params.width; }
  let meanProduct = rowSum(packSum(product), l) / params.width;
  for (var at = first; at < end; at += LANES) {
    let xhat = (xAt(at) - mean) * factor;
    y[at] = StoredPack(factor * (weightAt(at - begin) * upstream(at, at - begin, image) - meanGradient - xhat * meanProduct));
  }
}

// Sums of dy and of dy xhat for each column over a chunk of an image's rows; its last chunk may be shorter.
@compute @workgroup_size(THREADS)
fn chunk_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.chunks * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let image = chunk / params.image_chunks;
  let begin = image * params.image_rows + (chunk - image * params.image_chunks) * params.chunk;
  let end = min(min(begin + params.chunk, (image + 1u) * params.image_rows), params.rows);
  var sum = Pack();
  var product = Pack();
  for (var row = begin; row < end; row++) {
    let at = row * params.packs + pack;
    let gradient = dyAt(at);
    sum += gradient;
    product += gradient * (xAt(at) - statistics[row].x) * statistics[row].y;
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

// The gradients of an image's scale and shift, and its part of the weight's.
@compute @workgroup_size(THREADS)
fn modulation_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.rows / params.image_rows * params.packs) { return; }
  let image = i / params.packs;
  let pack = i - image * params.packs;
  var sum = Pack();
  var product = Pack();
  for (var chunk = image * params.image_chunks; chunk < (image + 1u) * params.image_chunks; chunk++) {
    let at = 2u * chunk * params.packs + pack;
    sum += chunkSums[at];
    product += chunkSums[at + params.packs];
  }
  dshift[i] = StoredPack(sum);
  dscale[i] = StoredPack(weightAt(pack) * product);
  imageWeights[i] = (1.0 + scaleAt(i)) * product;
}

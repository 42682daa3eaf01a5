// Normalization of (batch, positions, channels) by the mean and variance of each image's groups of channels.
//
// A lane owns one pack of channels and walks rows: neighboring lanes read neighboring addresses, and no lane waits for another. Sums
// over rows go through equal chunks of rows; moments of chunks are merged as in Chan, Golub & LeVeque 1983, and each second pass
// corrects the rounding of its mean by the deviations' own mean, so that a large common offset costs no digits.

// Whether y = u sigmoid(u) of the normalized u is returned instead of u.
override SWISH: u32 = 0u;

struct Params {
  first: u32, // first chunk of this range
  count: u32, // chunks or images of this range
  packs: u32, // packs of a row
  channels: u32,
  groups: u32,
  positions: u32, // rows of an image
  chunk: u32, // rows of a chunk
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Pack>; // (rows, packs)
@group(0) @binding(2) var<storage, read> dy: array<Pack>; // (rows, packs)
@group(0) @binding(3) var<storage, read> weight: array<Pack>; // (packs)
@group(0) @binding(4) var<storage, read> bias: array<Pack>; // (packs)
@group(0) @binding(5) var<storage, read> statistics: array<Pack>; // (batch, 2, packs): mean, 1 / standard deviation
@group(0) @binding(6) var<storage, read> means: array<Pack>; // (batch, 2, packs): mean of w dy and of w dy xhat over the group
@group(0) @binding(7) var<storage, read_write> y: array<Pack>; // (rows, packs)

@group(0) @binding(7) var<storage, read_write> partial: array<Pack>; // (chunks, 2, packs)
@group(0) @binding(1) var<storage, read> chunkMoments: array<Pack>; // (batch, chunks, 2, packs)
@group(0) @binding(7) var<storage, read_write> moments: array<Pack>; // (batch, 2, packs): mean, sum of squared deviations

@group(0) @binding(1) var<storage, read> channelValues: array<f32>; // (batch, 2, channels)
@group(0) @binding(3) var<storage, read> channelWeight: array<f32>; // (channels)
@group(0) @binding(7) var<storage, read_write> groupValues: array<f32>; // (batch, 2, channels)
@group(0) @binding(6) var<storage, read_write> dweight: array<f32>; // (channels)
@group(0) @binding(7) var<storage, read_write> dbias: array<f32>; // (channels)

// Mean and sum of squared deviations of each channel over a chunk of rows; the second walk reads from cache.
@compute @workgroup_size(THREADS)
fn chunk_moments(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let begin = chunk * params.chunk * params.packs + pack;
  let end = begin + params.chunk * params.packs;
  var sum = Pack();
  for (var at = begin; at < end; at += params.packs) { sum += x[at]; }
  let size = f32(params.chunk);
  let mean = sum / size;
  var squares = Pack();
  var residual = Pack();
  for (var at = begin; at < end; at += params.packs) {
    let deviation = x[at] - mean;
    squares += deviation * deviation;
    residual += deviation;
  }
  partial[2u * chunk * params.packs + pack] = mean + residual / size;
  partial[(2u * chunk + 1u) * params.packs + pack] = squares - residual * residual / size;
}

// Moments of each channel of an image from those of its chunks.
@compute @workgroup_size(THREADS)
fn merge_moments(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let image = i / params.packs;
  let pack = i - image * params.packs;
  let chunks = params.positions / params.chunk;
  let begin = 2u * image * chunks * params.packs + pack;
  let end = begin + 2u * chunks * params.packs;
  var sum = Pack();
  for (var at = begin; at < end; at += 2u * params.packs) { sum += chunkMoments[at]; }
  let mean = sum / f32(chunks);
  let size = f32(params.chunk);
  var squares = Pack();
  var residual = Pack();
  for (var at = begin; at < end; at += 2u * params.packs) {
    let deviation = chunkMoments[at] - mean;
    squares += chunkMoments[at + params.packs] + size * deviation * deviation;
    residual += deviation;
  }
  residual /= f32(chunks);
  moments[2u * image * params.packs + pack] = mean + residual;
  moments[(2u * image + 1u) * params.packs + pack] = squares - f32(params.positions) * residual * residual;
}

// Statistics of each group, repeated for each of its channels so that later passes need no notion of groups.
@compute @workgroup_size(THREADS)
fn group_statistics(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.channels) { return; }
  let image = i / params.channels;
  let channel = i - image * params.channels;
  let size = params.channels / params.groups;
  let begin = 2u * image * params.channels + channel / size * size;
  var sum = 0.0;
  for (var at = begin; at < begin + size; at++) { sum += channelValues[at]; }
  let mean = sum / f32(size);
  var squares = 0.0;
  var residual = 0.0;
  for (var at = begin; at < begin + size; at++) {
    let deviation = channelValues[at] - mean;
    squares += channelValues[at + params.channels] + f32(params.positions) * deviation * deviation;
    residual += deviation;
  }
  residual /= f32(size);
  let elements = f32(size) * f32(params.positions);
  groupValues[2u * image * params.channels + channel] = mean + residual;
  groupValues[(2u * image + 1u) * params.channels + channel] =
    1.0 / sqrt(max(squares / elements - residual * residual, 0.0) + params.eps);
}

@compute @workgroup_size(THREADS)
fn normalize(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let image = (params.first + chunk) / (params.positions / params.chunk);
  let mean = statistics[2u * image * params.packs + pack];
  let scale = statistics[(2u * image + 1u) * params.packs + pack];
  let factor = weight[pack];
  let summand = bias[pack];
  let begin = chunk * params.chunk * params.packs + pack;
  let end = begin + params.chunk * params.packs;
  for (var at = begin; at < end; at += params.packs) {
    let u = (x[at] - mean) * scale * factor + summand;
    if (SWISH == 1u) { y[at] = u * packSigmoid(u); } else { y[at] = u; }
  }
}

// The gradient by u, the value before swish.
fn beforeSwish(dy: Pack, u: Pack) -> Pack {
  if (SWISH == 0u) { return dy; }
  let s = packSigmoid(u);
  return dy * s * (1.0 + u * (1.0 - s));
}

// Sums of du and of du xhat for each channel over a chunk of rows.
@compute @workgroup_size(THREADS)
fn chunk_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let image = (params.first + chunk) / (params.positions / params.chunk);
  let mean = statistics[2u * image * params.packs + pack];
  let scale = statistics[(2u * image + 1u) * params.packs + pack];
  let begin = chunk * params.chunk * params.packs + pack;
  let end = begin + params.chunk * params.packs;
  let factor = weight[pack];
  let summand = bias[pack];
  var sum = Pack();
  var product = Pack();
  for (var at = begin; at < end; at += params.packs) {
    let xhat = (x[at] - mean) * scale;
    let du = beforeSwish(dy[at], xhat * factor + summand);
    sum += du;
    product += du * xhat;
  }
  partial[2u * chunk * params.packs + pack] = sum;
  partial[(2u * chunk + 1u) * params.packs + pack] = product;
}

// Means over each group of w du and of w du xhat, repeated for each of its channels.
@compute @workgroup_size(THREADS)
fn group_means(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.channels) { return; }
  let image = i / params.channels;
  let channel = i - image * params.channels;
  let size = params.channels / params.groups;
  let begin = channel / size * size;
  let base = 2u * image * params.channels;
  var sum = 0.0;
  var product = 0.0;
  for (var c = begin; c < begin + size; c++) {
    sum += channelWeight[c] * channelValues[base + c];
    product += channelWeight[c] * channelValues[base + params.channels + c];
  }
  let elements = f32(size) * f32(params.positions);
  groupValues[base + channel] = sum / elements;
  groupValues[base + params.channels + channel] = product / elements;
}

// Gradients of weight and bias: the images' sums added up.
@compute @workgroup_size(THREADS)
fn affine_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let channel = flatIndex(w, n, l);
  if (channel >= params.channels) { return; }
  var sum = 0.0;
  var product = 0.0;
  for (var image = 0u; image < params.count; image++) {
    let at = 2u * image * params.channels + channel;
    sum += channelValues[at];
    product += channelValues[at + params.channels];
  }
  dbias[channel] = sum;
  dweight[channel] = product;
}

// dx = (w du - mean(w du) - xhat mean(w du xhat)) / standard deviation
@compute @workgroup_size(THREADS)
fn input_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let image = (params.first + chunk) / (params.positions / params.chunk);
  let mean = statistics[2u * image * params.packs + pack];
  let scale = statistics[(2u * image + 1u) * params.packs + pack];
  let meanGradient = means[2u * image * params.packs + pack];
  let meanProduct = means[(2u * image + 1u) * params.packs + pack];
  let factor = weight[pack];
  let summand = bias[pack];
  let begin = chunk * params.chunk * params.packs + pack;
  let end = begin + params.chunk * params.packs;
  for (var at = begin; at < end; at += params.packs) {
    let xhat = (x[at] - mean) * scale;
    let du = beforeSwish(dy[at], xhat * factor + summand);
    y[at] = scale * (factor * du - meanGradient - xhat * meanProduct);
  }
}

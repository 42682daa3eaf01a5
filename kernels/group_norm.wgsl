// Normalization of (batch, positions, channels) by the mean and variance of each image's groups of channels. Inputs: `x`, `dy` (rows, packs).
//
// A lane owns one pack of channels and walks rows, four a turn: neighboring lanes read neighboring addresses, and no lane waits for
// another. Sums over rows go through equal chunks of rows; moments of chunks are merged as in Chan, Golub & LeVeque 1983. Deviations
// are taken from the chunk's first row, or from a mean that is corrected by their own mean, so that a large common offset costs no
// digits.

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
@group(0) @binding(3) var<storage, read> weight: array<Pack>; // (packs)
@group(0) @binding(4) var<storage, read> bias: array<Pack>; // (packs)
@group(0) @binding(5) var<storage, read> statistics: array<Pack>; // (batch, 2, packs): mean, 1 / standard deviation
@group(0) @binding(6) var<storage, read> means: array<Pack>; // (batch, 2, packs): mean of w dy and of w dy xhat over the group
@group(0) @binding(7) var<storage, read_write> y: array<StoredPack>; // (rows, packs)

@group(0) @binding(7) var<storage, read_write> partial: array<Pack>; // (chunks, 2, packs)
@group(0) @binding(1) var<storage, read> chunkMoments: array<Pack>; // (batch, chunks, 2, packs)
@group(0) @binding(7) var<storage, read_write> moments: array<Pack>; // (batch, 2, packs): mean, sum of squared deviations

@group(0) @binding(1) var<storage, read> channelValues: array<f32>; // (batch, 2, channels)
@group(0) @binding(3) var<storage, read> channelWeight: array<f32>; // (channels)
@group(0) @binding(7) var<storage, read_write> groupValues: array<f32>; // (batch, 2, channels)
@group(0) @binding(6) var<storage, read_write> dweight: array<f32>; // (channels)
@group(0) @binding(7) var<storage, read_write> dbias: array<f32>; // (channels)

// Mean and sum of squared deviations of each channel over a chunk of rows.
@compute @workgroup_size(THREADS)
fn chunk_moments(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let step = params.packs;
  var at = chunk * params.chunk * step + pack;
  let end = at + params.chunk * step;
  let origin = xAt(at);
  var sum = Pack();
  var squares = Pack();
  for (; at + 3u * step < end; at += 4u * step) {
    let first = xAt(at) - origin;
    let second = xAt(at + step) - origin;
    let third = xAt(at + 2u * step) - origin;
    let fourth = xAt(at + 3u * step) - origin;
    sum += (first + second) + (third + fourth);
    squares += (first * first + second * second) + (third * third + fourth * fourth);
  }
  for (; at < end; at += step) {
    let deviation = xAt(at) - origin;
    sum += deviation;
    squares += deviation * deviation;
  }
  let mean = sum / f32(params.chunk);
  partial[2u * chunk * step + pack] = origin + mean;
  partial[(2u * chunk + 1u) * step + pack] = max(squares - sum * mean, Pack());
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

// What the rows of a chunk share in one pack of channels.
struct Channel { image: u32, mean: Pack, scale: Pack, weight: Pack, bias: Pack }

fn channelOf(chunk: u32, pack: u32) -> Channel {
  let image = (params.first + chunk) / (params.positions / params.chunk);
  return Channel(
    image,
    statistics[2u * image * params.packs + pack],
    statistics[(2u * image + 1u) * params.packs + pack],
    weight[pack],
    bias[pack],
  );
}

fn normalizedAt(at: u32, c: Channel) -> StoredPack {
  let u = (xAt(at) - c.mean) * c.scale * c.weight + c.bias;
  if (SWISH == 1u) { return StoredPack(u * packSigmoid(u)); }
  return StoredPack(u);
}

@compute @workgroup_size(THREADS)
fn normalize(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let channel = channelOf(chunk, pack);
  let step = params.packs;
  var at = chunk * params.chunk * step + pack;
  let end = at + params.chunk * step;
  for (; at + 3u * step < end; at += 4u * step) {
    let first = normalizedAt(at, channel);
    let second = normalizedAt(at + step, channel);
    let third = normalizedAt(at + 2u * step, channel);
    let fourth = normalizedAt(at + 3u * step, channel);
    y[at] = first;
    y[at + step] = second;
    y[at + 2u * step] = third;
    y[at + 3u * step] = fourth;
  }
  for (; at < end; at += step) { y[at] = normalizedAt(at, channel); }
}

// The normalized value of a row, and the gradient by u, the value before swish, which is computed again.
struct Row { xhat: Pack, du: Pack }

fn rowAt(at: u32, c: Channel) -> Row {
  let xhat = (xAt(at) - c.mean) * c.scale;
  let gradient = dyAt(at);
  if (SWISH == 0u) { return Row(xhat, gradient); }
  let u = xhat * c.weight + c.bias;
  let s = packSigmoid(u);
  return Row(xhat, gradient * s * (1.0 + u * (1.0 - s)));
}

// Sums of du and of du xhat for each channel over a chunk of rows.
@compute @workgroup_size(THREADS)
fn chunk_gradients(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let channel = channelOf(chunk, pack);
  let step = params.packs;
  var at = chunk * params.chunk * step + pack;
  let end = at + params.chunk * step;
  var sum = Pack();
  var product = Pack();
  for (; at + 3u * step < end; at += 4u * step) {
    let first = rowAt(at, channel);
    let second = rowAt(at + step, channel);
    let third = rowAt(at + 2u * step, channel);
    let fourth = rowAt(at + 3u * step, channel);
    sum += (first.du + second.du) + (third.du + fourth.du);
    product += (first.du * first.xhat + second.du * second.xhat) + (third.du * third.xhat + fourth.du * fourth.xhat);
  }
  for (; at < end; at += step) {
    let row = rowAt(at, channel);
    sum += row.du;
    product += row.du * row.xhat;
  }
  partial[2u * chunk * step + pack] = sum;
  partial[(2u * chunk + 1u) * step + pack] = product;
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
fn gradientAt(at: u32, c: Channel, mean: Pack, product: Pack) -> StoredPack {
  let row = rowAt(at, c);
  return StoredPack(c.scale * (c.weight * row.du - mean - row.xhat * product));
}

@compute @workgroup_size(THREADS)
fn input_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count * params.packs) { return; }
  let chunk = i / params.packs;
  let pack = i - chunk * params.packs;
  let channel = channelOf(chunk, pack);
  let step = params.packs;
  var at = chunk * params.chunk * step + pack;
  let end = at + params.chunk * step;
  let mean = means[2u * channel.image * step + pack];
  let product = means[(2u * channel.image + 1u) * step + pack];
  for (; at + 3u * step < end; at += 4u * step) {
    let first = gradientAt(at, channel, mean, product);
    let second = gradientAt(at + step, channel, mean, product);
    let third = gradientAt(at + 2u * step, channel, mean, product);
    let fourth = gradientAt(at + 3u * step, channel, mean, product);
    y[at] = first;
    y[at + step] = second;
    y[at + 2u * step] = third;
    y[at + 3u * step] = fourth;
  }
  for (; at < end; at += step) { y[at] = gradientAt(at, channel, mean, product); }
}

// Nearest doubling and bilinear resizing of (batch, height, width, channels). A lane owns one pack of channels of one position of
// what it writes; the gradients gather, so nothing is added by two lanes.

struct Params {
  count: u32, // packs written
  packs: u32, // packs of a position
  height: u32, // of the smaller image (doubling), of the input (bilinear)
  width: u32,
  output_height: u32,
  output_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredPack>;
@group(0) @binding(2) var<storage, read_write> y: array<StoredPack>;
@group(0) @binding(1) var<storage, read> dy: array<StoredPack>;
@group(0) @binding(2) var<storage, read_write> dx: array<StoredPack>;

// Doubling treats (batch, height) as one axis of lines.
@compute @workgroup_size(THREADS)
fn double(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let position = i / params.packs;
  let line = position / (2u * params.width);
  let column = position - line * 2u * params.width;
  y[i] = x[(line / 2u * params.width + column / 2u) * params.packs + i % params.packs];
}

@compute @workgroup_size(THREADS)
fn double_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let position = i / params.packs;
  let line = position / params.width;
  let column = position - line * params.width;
  let at = (4u * line * params.width + 2u * column) * params.packs + i % params.packs;
  let below = at + 2u * params.width * params.packs;
  let upper = Pack(dy[at]) + Pack(dy[at + params.packs]);
  let lower = Pack(dy[below]) + Pack(dy[below + params.packs]);
  dx[i] = StoredPack(upper + lower);
}

// The two neighbors of an output place along one axis, and the weight of the second.
struct Taps { first: u32, second: u32, weight: f32 }

fn tapsOf(place: u32, size: u32, outputSize: u32) -> Taps {
  // Pixel centers coincide (align_corners = false); places left of the first center repeat it.
  let source = max(f32(size) / f32(outputSize) * (f32(place) + 0.5) - 0.5, 0.0);
  let first = min(u32(source), size - 1u);
  return Taps(first, min(first + 1u, size - 1u), source - f32(first));
}

@compute @workgroup_size(THREADS)
fn bilinear(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let pack = i % params.packs;
  let position = i / params.packs;
  let line = position / params.output_width;
  let image = line / params.output_height;
  let rows = tapsOf(line % params.output_height, params.height, params.output_height);
  let columns = tapsOf(position % params.output_width, params.width, params.output_width);
  let upper = (image * params.height + rows.first) * params.width;
  let lower = (image * params.height + rows.second) * params.width;
  let top = (1.0 - columns.weight) * Pack(x[(upper + columns.first) * params.packs + pack]) +
    columns.weight * Pack(x[(upper + columns.second) * params.packs + pack]);
  let bottom = (1.0 - columns.weight) * Pack(x[(lower + columns.first) * params.packs + pack]) +
    columns.weight * Pack(x[(lower + columns.second) * params.packs + pack]);
  y[i] = StoredPack((1.0 - rows.weight) * top + rows.weight * bottom);
}

// Output places that may read an input place, one more on each side than needed against rounding, and the one behind the last.
fn readersOf(place: u32, size: u32, outputSize: u32) -> vec2u {
  let ratio = f32(outputSize) / f32(size);
  let first = floor((f32(place) - 0.5) * ratio - 0.5) - 1.0;
  let last = ceil((f32(place) + 1.5) * ratio - 0.5) + 1.0;
  return vec2u(u32(max(first, 0.0)), min(u32(max(last, 0.0)) + 1u, outputSize));
}

fn weightOf(taps: Taps, place: u32) -> f32 {
  return select(0.0, 1.0 - taps.weight, taps.first == place) + select(0.0, taps.weight, taps.second == place);
}

@compute @workgroup_size(THREADS)
fn bilinear_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let pack = i % params.packs;
  let position = i / params.packs;
  let line = position / params.width;
  let image = line / params.height;
  let row = line % params.height;
  let column = position % params.width;
  let rows = readersOf(row, params.height, params.output_height);
  let columns = readersOf(column, params.width, params.output_width);
  var total = Pack();
  for (var r = rows.x; r < rows.y; r++) {
    let rowWeight = weightOf(tapsOf(r, params.height, params.output_height), row);
    if (rowWeight == 0.0) { continue; }
    var sum = Pack();
    for (var c = columns.x; c < columns.y; c++) {
      let columnWeight = weightOf(tapsOf(c, params.width, params.output_width), column);
      let at = (image * params.output_height + r) * params.output_width + c;
      sum += columnWeight * Pack(dy[at * params.packs + pack]);
    }
    total += rowWeight * sum;
  }
  dx[i] = StoredPack(total);
}

// Maximum and average over windows of (batch, height, width, channels). A lane owns one pack of channels of one output (forward) or
// input position (backward, which gathers over the windows that hold the position, so nothing is added by two lanes).

// Whether padded positions count in the divisor of the average.
override INCLUDE_PADDING: u32 = 1u;

struct Params {
  batch: u32,
  height: u32,
  width: u32,
  packs: u32,
  output_height: u32,
  output_width: u32,
  kernel_height: i32,
  kernel_width: i32,
  stride_y: i32,
  stride_x: i32,
  padding_y: i32,
  padding_x: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredPack>;
@group(0) @binding(2) var<storage, read> dy: array<StoredPack>;
@group(0) @binding(3) var<storage, read_write> y: array<StoredPack>;
@group(0) @binding(3) var<storage, read_write> dx: array<StoredPack>;

struct Place { image: u32, row: i32, column: i32, pack: u32 }

fn placeOf(i: u32, height: u32, width: u32) -> Place {
  let position = i / params.packs;
  let line = position / width;
  return Place(line / height, i32(line % height), i32(position % width), i % params.packs);
}

// Rows and columns of the input that the window of an output position holds.
struct Window { top: i32, bottom: i32, left: i32, right: i32 }

fn windowOf(row: i32, column: i32) -> Window {
  let top = row * params.stride_y - params.padding_y;
  let left = column * params.stride_x - params.padding_x;
  return Window(
    max(top, 0),
    min(top + params.kernel_height, i32(params.height)),
    max(left, 0),
    min(left + params.kernel_width, i32(params.width)),
  );
}

fn inputAt(place: Place, row: i32, column: i32) -> u32 {
  return ((place.image * params.height + u32(row)) * params.width + u32(column)) * params.packs + place.pack;
}

fn outputAt(place: Place, row: i32, column: i32) -> u32 {
  return ((place.image * params.output_height + u32(row)) * params.output_width + u32(column)) * params.packs + place.pack;
}

// First output row or column whose window reaches the input position, and the one behind the last.
fn firstWindow(position: i32, kernel: i32, stride: i32, padding: i32) -> i32 {
  let reach = position + padding - kernel;
  return select(reach / stride + 1, 0, reach < 0);
}

fn endWindow(position: i32, stride: i32, padding: i32, count: u32) -> i32 {
  return min(i32(count), (position + padding) / stride + 1);
}

@compute @workgroup_size(THREADS)
fn maximum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.batch * params.output_height * params.output_width * params.packs) { return; }
  let place = placeOf(i, params.output_height, params.output_width);
  let window = windowOf(place.row, place.column);
  var best = Pack(x[inputAt(place, window.top, window.left)]);
  for (var row = window.top; row < window.bottom; row++) {
    for (var column = window.left; column < window.right; column++) {
      let value = Pack(x[inputAt(place, row, column)]);
      best = select(best, value, value > best);
    }
  }
  y[i] = StoredPack(best);
}

// The gradient of a window goes to its first maximum in row-major order: larger than all before, no smaller than all behind.
@compute @workgroup_size(THREADS)
fn maximum_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.batch * params.height * params.width * params.packs) { return; }
  let place = placeOf(i, params.height, params.width);
  let value = Pack(x[i]);
  var total = Pack();
  let endRow = endWindow(place.row, params.stride_y, params.padding_y, params.output_height);
  let endColumn = endWindow(place.column, params.stride_x, params.padding_x, params.output_width);
  for (var row = firstWindow(place.row, params.kernel_height, params.stride_y, params.padding_y); row < endRow; row++) {
    for (var column = firstWindow(place.column, params.kernel_width, params.stride_x, params.padding_x); column < endColumn; column++) {
      let window = windowOf(row, column);
      var share = Pack(dy[outputAt(place, row, column)]);
      for (var r = window.top; r < window.bottom; r++) {
        for (var c = window.left; c < window.right; c++) {
          let other = Pack(x[inputAt(place, r, c)]);
          if (r < place.row || (r == place.row && c < place.column)) {
            share = select(Pack(), share, value > other);
          } else {
            share = select(Pack(), share, value >= other);
          }
        }
      }
      total += share;
    }
  }
  dx[i] = StoredPack(total);
}

fn divisor(window: Window) -> f32 {
  if (INCLUDE_PADDING == 1u) { return f32(params.kernel_height * params.kernel_width); }
  return f32((window.bottom - window.top) * (window.right - window.left));
}

@compute @workgroup_size(THREADS)
fn average(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.batch * params.output_height * params.output_width * params.packs) { return; }
  let place = placeOf(i, params.output_height, params.output_width);
  let window = windowOf(place.row, place.column);
  var total = Pack();
  for (var row = window.top; row < window.bottom; row++) {
    // A sum for each row, so that large windows are no long chain of additions.
    var line = Pack();
    for (var column = window.left; column < window.right; column++) {
      line += Pack(x[inputAt(place, row, column)]);
    }
    total += line;
  }
  y[i] = StoredPack(total / divisor(window));
}

@compute @workgroup_size(THREADS)
fn average_gradient(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.batch * params.height * params.width * params.packs) { return; }
  let place = placeOf(i, params.height, params.width);
  var total = Pack();
  let endRow = endWindow(place.row, params.stride_y, params.padding_y, params.output_height);
  let endColumn = endWindow(place.column, params.stride_x, params.padding_x, params.output_width);
  for (var row = firstWindow(place.row, params.kernel_height, params.stride_y, params.padding_y); row < endRow; row++) {
    for (var column = firstWindow(place.column, params.kernel_width, params.stride_x, params.padding_x); column < endColumn; column++) {
      total += Pack(dy[outputAt(place, row, column)]) / divisor(windowOf(row, column));
    }
  }
  dx[i] = StoredPack(total);
}

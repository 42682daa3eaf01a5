// Copies or clears a rectangle of columns of row-major matrices of 4-byte elements. The launcher makes of it
// the text for 16-bit floats: u32 in place of f32 keeps every bit, also where adapters flush small numbers to 0.

// `…_stride`: elements from one row to the next; `…_column`: first column of the rectangle.
struct Params { rows: u32, columns: u32, x_stride: u32, x_column: u32, y_stride: u32, y_column: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn copy(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let row = i / params.columns;
  let column = i % params.columns;
  if (row < params.rows) {
    y[row * params.y_stride + params.y_column + column] = x[row * params.x_stride + params.x_column + column];
  }
}

@compute @workgroup_size(THREADS)
fn clear(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let row = i / params.columns;
  if (row < params.rows) { y[row * params.y_stride + params.y_column + i % params.columns] = u32(0); }
}

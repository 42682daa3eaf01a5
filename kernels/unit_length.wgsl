// Rows divided by their length: y = x / d with d = sqrt(squares) + eps, from the sum of squares of each row.

// `packs`: of a row; `first_row`: index of the first bound row of x.
struct Params { count: u32, packs: u32, first_row: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<StoredPack>;
@group(0) @binding(2) var<storage, read> squares: array<f32>;
@group(0) @binding(3) var<storage, read> products: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<StoredPack>;
@group(0) @binding(5) var<storage, read_write> y: array<StoredPack>;

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  y[i] = StoredPack(Pack(x[i]) / (sqrt(squares[params.first_row + i / params.packs]) + params.eps));
}

// dx = dy / d - x products / (d^2 length), with products = sum of x dy over the row; 0 for a row of zeros, where no gradient exists.
@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let row = params.first_row + i / params.packs;
  let length = sqrt(squares[row]);
  let d = length + params.eps;
  y[i] = StoredPack(select((Pack(dy[i]) - Pack(x[i]) / d * (products[row] / length)) / d, Pack(), length == 0.0));
}

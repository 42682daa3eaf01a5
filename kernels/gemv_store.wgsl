// What becomes of an output's products: joined in front of kernels whose `struct Params` has first_row, first_output and all_outputs.

override ROWS: u32 = 1;
// Whether there are two products, the first of which gates the second; a bias; a gate and a residual. What there is not is bound to
// something else.
override PAIRED: u32 = 0;
override BIASED: u32 = 0;
override GATED: u32 = 0;

@group(0) @binding(4) var<storage, read> bias: array<f32>;            // (all outputs)
@group(0) @binding(5) var<storage, read> gate: array<f32>;            // (all rows, all outputs)
@group(0) @binding(6) var<storage, read> residual: array<f32>;        // (all rows, all outputs)
@group(0) @binding(7) var<storage, read_write> y: array<f32>;         // (all rows, all outputs)

fn store(output: u32, products: vec4f, pairs: vec4f) {
  let column = params.first_output + output;
  var first = 0.0;
  if (BIASED != 0u) { first = bias[column]; }
  var values = products;
  var others = pairs;
  for (var row = 0u; row < ROWS; row++) {
    let at = (params.first_row + row) * params.all_outputs + column;
    var value = values.x;
    if (PAIRED != 0u) { value *= sigmoid(value) * others.x; }
    value += first;
    if (GATED != 0u) { value = residual[at] + gate[at] * value; }
    y[at] = value;
    values = values.yzwx;
    others = others.yzwx;
  }
}

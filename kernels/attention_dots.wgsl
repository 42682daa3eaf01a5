// For each query of each head: the sum of the output times its gradient, which the gradient of the softmax subtracts.

struct Params { rows: u32, first_row: u32, queries: u32, heads: u32, packs: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<StoredPack>;  // (images, queries, heads, packs)
@group(0) @binding(2) var<storage, read> dy: array<StoredPack>; // same
@group(0) @binding(3) var<storage, read_write> dots: array<f32>; // (images, heads, queries)

@compute @workgroup_size(THREADS)
fn output_dots(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.rows) { return; }
  let row = params.first_row + i;
  let head = row % params.heads;
  let query = row / params.heads % params.queries;
  let image = row / params.heads / params.queries;
  var total = Pack();
  for (var pack = i * params.packs; pack < (i + 1u) * params.packs; pack++) { total += Pack(y[pack]) * Pack(dy[pack]); }
  dots[(image * params.heads + head) * params.queries + query] = packSum(total);
}

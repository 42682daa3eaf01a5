// Gated sigmoid linear unit (Shazeer 2020): y = silu(gate) x, and both gradients.

struct Params { count: u32 } // packs

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<StoredPack>;
@group(0) @binding(2) var<storage, read> x: array<StoredPack>;
@group(0) @binding(3) var<storage, read> dy: array<StoredPack>;
@group(0) @binding(4) var<storage, read_write> y: array<StoredPack>;
@group(0) @binding(4) var<storage, read_write> dgate: array<StoredPack>;
@group(0) @binding(5) var<storage, read_write> dx: array<StoredPack>;

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let g = Pack(gate[i]);
  y[i] = StoredPack(g * packSigmoid(g) * Pack(x[i]));
}

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.count) { return; }
  let g = Pack(gate[i]);
  let s = packSigmoid(g);
  let gradient = Pack(dy[i]);
  dgate[i] = StoredPack(gradient * Pack(x[i]) * fma(g * s, 1.0 - s, s));
  dx[i] = StoredPack(gradient * g * s);
}

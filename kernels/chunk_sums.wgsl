// Adds the partial sums that the lanes of an earlier kernel left for each chunk of rows.

struct Params { batch: u32, chunks: u32, packs: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<Pack>; // (batch, chunks, packs)
@group(0) @binding(2) var<storage, read_write> sums: array<Pack>; // (batch, packs)

@compute @workgroup_size(THREADS)
fn sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.batch * params.packs) { return; }
  let image = i / params.packs;
  var at = image * params.chunks * params.packs + i % params.packs;
  var total = Pack();
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    total += partial[at];
    at += params.packs;
  }
  sums[i] = total;
}

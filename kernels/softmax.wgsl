// Softmax over the last axis and its relatives, of the inputs `x` and `dy` (rows, packs). LANES invocations share a row (see lanes.wgsl).

// `packs`: of a row. `first_row`: first bound row of x. `gradient_stride`: 1 if each row has its own upstream gradient, 0 if all share
// one.
struct Params { rows: u32, columns: u32, packs: u32, first_row: u32, gradient_stride: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> newLogSums: array<f32>; // (all rows): logarithm of the sum of e^x
@group(0) @binding(2) var<storage, read> logSums: array<f32>;
@group(0) @binding(3) var<storage, read> dlosses: array<f32>; // (all rows), or one element
@group(0) @binding(4) var<storage, read> targets: array<u32>; // (all rows)
@group(0) @binding(5) var<storage, read_write> y: array<StoredPack>; // (rows, packs)
@group(0) @binding(5) var<storage, read_write> losses: array<f32>; // (all rows)

struct Row { number: u32, exists: bool, base: u32, first: u32 }

// Rows behind the last walk over it, since lanes wait for each other, and store nothing.
fn rowOf(invocation: u32, lane: u32) -> Row {
  let row = min(invocation / LANES, params.rows - 1u);
  return Row(row, invocation / LANES < params.rows, row * params.packs, lane % LANES);
}

fn valuesOf(base: u32, columns: u32, pack: u32) -> Pack {
  return select(Pack(HIDDEN), xAt(base + min(pack, params.packs - 1u)), packColumns(pack) < Pack(f32(columns)));
}

// y = e^(x - max) / sum
@compute @workgroup_size(THREADS)
fn softmax(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = rowOf(flatIndex(w, n, l), l);
  let found = rowExponentials(row.base, params.columns, l);
  if (!row.exists) { return; }
  let share = 1.0 / found.y;
  var pack = row.first;
  for (; pack + 3u * LANES < params.packs; pack += 4u * LANES) {
    let at = row.base + pack;
    y[at] = StoredPack(packExpOfNegative(xAt(at) - found.x) * share);
    y[at + LANES] = StoredPack(packExpOfNegative(xAt(at + LANES) - found.x) * share);
    y[at + 2u * LANES] = StoredPack(packExpOfNegative(xAt(at + 2u * LANES) - found.x) * share);
    y[at + 3u * LANES] = StoredPack(packExpOfNegative(xAt(at + 3u * LANES) - found.x) * share);
  }
  for (; pack < params.packs; pack += LANES) {
    y[row.base + pack] = StoredPack(packExpOfNegative(xAt(row.base + pack) - found.x) * share);
  }
}

// y = x - max - log(sum)
@compute @workgroup_size(THREADS)
fn log_softmax(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = rowOf(flatIndex(w, n, l), l);
  let found = rowExponentials(row.base, params.columns, l);
  if (!row.exists) { return; }
  let logSum = preciseLog(found.y);
  for (var pack = row.first; pack < params.packs; pack += LANES) {
    y[row.base + pack] = StoredPack((xAt(row.base + pack) - found.x) - logSum);
  }
}

// From y (in x): dx = y (dy - sum of y dy)
@compute @workgroup_size(THREADS)
fn softmax_backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = rowOf(flatIndex(w, n, l), l);
  var part = Pack();
  var pack = row.first;
  for (; pack + 3u * LANES < params.packs; pack += 4u * LANES) {
    let at = row.base + pack;
    let low = xAt(at) * dyAt(at) + xAt(at + LANES) * dyAt(at + LANES);
    part += low + (xAt(at + 2u * LANES) * dyAt(at + 2u * LANES) + xAt(at + 3u * LANES) * dyAt(at + 3u * LANES));
  }
  for (; pack < params.packs; pack += LANES) { part += xAt(row.base + pack) * dyAt(row.base + pack); }
  let sum = rowSum(vec4f(packSum(part)), l).x;
  if (!row.exists) { return; }
  for (pack = row.first; pack < params.packs; pack += LANES) {
    let at = row.base + pack;
    y[at] = StoredPack(xAt(at) * (dyAt(at) - sum));
  }
}

// From y (in x): dx = dy - e^y sum of dy
@compute @workgroup_size(THREADS)
fn log_softmax_backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = rowOf(flatIndex(w, n, l), l);
  var part = Pack();
  for (var pack = row.first; pack < params.packs; pack += LANES) { part += dyAt(row.base + pack); }
  let sum = rowSum(vec4f(packSum(part)), l).x;
  if (!row.exists) { return; }
  for (var pack = row.first; pack < params.packs; pack += LANES) {
    let at = row.base + pack;
    y[at] = StoredPack(dyAt(at) - packExp(xAt(at)) * sum);
  }
}

// The loss of a row: max + log(sum) - x[target]; NaN for a target that is no column.
@compute @workgroup_size(THREADS)
fn cross_entropy(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = rowOf(flatIndex(w, n, l), l);
  let found = rowExponentials(row.base, params.columns, l);
  if (!row.exists || row.first > 0u) { return; }
  let number = params.first_row + row.number;
  let logSum = preciseLog(found.y);
  newLogSums[number] = found.x + logSum;
  let column = targets[number];
  if (column >= params.columns) {
    losses[number] = bitcast<f32>(column | 0x7fc00000u);
    return;
  }
  losses[number] = (found.x - packElement(xAt(row.base + column / PACK_WIDTH), column)) + logSum;
}

// dx = factor dy (e^(x - log(sum)) - [column is the target]), an invocation a pack.
@compute @workgroup_size(THREADS)
fn cross_entropy_backward(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.rows * params.packs) { return; }
  let row = params.first_row + i / params.packs;
  let probability = packExp(xAt(i) - logSums[row]);
  let expected = select(Pack(0.0), Pack(1.0), packColumns(i % params.packs) == Pack(f32(targets[row])));
  y[i] = StoredPack(params.factor * dlosses[row * params.gradient_stride] * (probability - expected));
}

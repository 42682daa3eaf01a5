// Rows of a table by index, and the gradient of the table without float atomics: the uses of a row form a chain from the last one
// back, built from an integer maximum, and are added in that order, so that the same input gives the same bits.

// `first_row`, `rows`: bound range of the table; `first_use`, `uses`: bound range of the indices; `table_rows`: rows in all.
struct Params { first_row: u32, rows: u32, table_rows: u32, first_use: u32, uses: u32, columns: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<Stored>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> last: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> previous: array<u32>;
@group(0) @binding(2) var<storage, read> last_use: array<u32>;
@group(0) @binding(3) var<storage, read> previous_use: array<u32>;
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;

// y[use] = table[index]. Each index lies in one bound range of the table; one that lies in none becomes NaN, with the last range.
@compute @workgroup_size(THREADS)
fn gather(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let use_index = i / params.columns;
  if (use_index >= params.uses) { return; }
  let index = indices[params.first_use + use_index];
  if (index >= params.first_row && index - params.first_row < params.rows) {
    y[i] = f32(table[(index - params.first_row) * params.columns + i % params.columns]);
  } else if (index >= params.table_rows && params.first_row + params.rows == params.table_rows) {
    y[i] = bitcast<f32>(index | 0x7fc00000u);
  }
}

// For each use: the number of the use before it that has the same index, and by index that of the last use; counted from 1, 0 is none.
@compute @workgroup_size(THREADS)
fn link(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  if (i >= params.uses) { return; }
  let index = indices[params.first_use + i];
  if (index >= params.table_rows) { return; }
  atomicMax(&last[index], i + 1u);
  var before = i;
  while (before > 0u && indices[params.first_use + before - 1u] != index) { before--; }
  previous[i] = before;
}

// dtable[row] = sum of dy over the row's uses, 32 at a time so that a long chain loses no digits.
@compute @workgroup_size(THREADS)
fn scatter(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = flatIndex(w, n, l);
  let row = i / params.columns;
  if (row >= params.rows) { return; }
  let column = i % params.columns;
  var total = 0.0;
  var at = last_use[params.first_row + row];
  while (at > 0u) {
    var part = 0.0;
    for (var k = 0u; k < 32u && at > 0u; k++) {
      part += dy[(at - 1u) * params.columns + column];
      at = previous_use[at - 1u];
    }
    total += part;
  }
  if (params.accumulate > 0u) { total += dtable[i]; }
  dtable[i] = total;
}

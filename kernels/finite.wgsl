// Looks for numbers that are not finite by their bits: comparisons with NaN are compiled away.

// HALF: the words hold two 16-bit floats each.
override HALF: u32 = 0;

// `elements` of the tensor from the bound range's start, in words or halves of words; `step`: distance of the words of an invocation.
struct Params { elements: u32, words: u32, step: u32, flag: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> flags: array<atomic<u32>>;

fn isBad(word: u32, i: u32) -> bool {
  if (HALF == 0u) { return (word & 0x7f800000u) == 0x7f800000u; }
  let low = (word & 0x7c00u) == 0x7c00u;
  // The word at the end may hold one element only.
  let high = (word & 0x7c000000u) == 0x7c000000u && 2u * i + 1u < params.elements;
  return low || high;
}

// Sets a flag if any element is not finite, and else leaves it.
@compute @workgroup_size(THREADS)
fn flag_non_finite(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = flatIndex(w, n, l);
  if (t >= params.step) { return; }
  var bad = false;
  for (var i = t; i < params.words; i += params.step) { bad = bad || isBad(x[i], i); }
  if (bad) { atomicOr(&flags[params.flag], 1u); }
}

// The maximum of a row and its sum of exponentials in one walk, four packs at a time. Joined, behind lanes.wgsl and a definition of `Pack`,
// in front of kernels that define `valuesOf`: a pack of a row, HIDDEN behind its last column.

const HIDDEN = -3.4e38;

// Maximum, and sum of e^(value - maximum), over the first `columns` of a row; the same in each of its lanes.
fn rowExponentials(base: u32, columns: u32, lane: u32) -> vec2f {
  let packs = (columns + PACK_WIDTH - 1u) / PACK_WIDTH;
  var greatest = HIDDEN;
  var total = 0.0;
  for (var pack = lane % LANES; pack < packs; pack += 4u * LANES) {
    let a = valuesOf(base, columns, pack);
    let b = valuesOf(base, columns, pack + LANES);
    let c = valuesOf(base, columns, pack + 2u * LANES);
    let d = valuesOf(base, columns, pack + 3u * LANES);
    let m = max(greatest, packMaximum(max(max(a, b), max(c, d))));
    total = total * expOfNegative(greatest - m) + packSum((packExpOfNegative(a - m) + packExpOfNegative(b - m)) + (packExpOfNegative(c - m) + packExpOfNegative(d - m)));
    greatest = m;
  }
  let maximum = rowMaximum(greatest, lane);
  return vec2f(maximum, rowSum(vec4f(total * expOfNegative(greatest - maximum)), lane).x);
}

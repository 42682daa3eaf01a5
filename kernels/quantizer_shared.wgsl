// Statistics of a token over codes, in one lane or merged, relative to the largest logit, and what is needed to merge them.
struct Statistics {
  maximum: f32,      // largest logit, roughly: the sums are relative to it
  best: f32,         // sharpened largest logit minus `maximum`
  code: u32,         // the code that has it
  sum: f32,          // sum of exp(l - maximum)
  sharpSum: f32,     // sum of exp((l - maximum) / T)
  sharpMoment: f32,  // sum of exp((l - maximum) / T) (l - maximum)
}

// e^x for x that is at most slightly positive, within about 2 units in the last place; 0 below -86. A driver's exp may be off by
// 4e-6, which 1 / T amplifies. x = n log(2) + r with |r| <= log(2) / 2, and the Taylor series of e^r to r^7.
fn decay(x: f32) -> f32 {
  let n = round(max(x, -90.0) * 1.44269504);
  let power = i32(n);
  // log(2) in two parts, the first short enough for n times it to be exact. Two names for n, since Mesa would join the products.
  let r = fma(f32(power), 2.12194440e-4, fma(n, -0.693359375, max(x, -90.0)));
  var p = fma(r, 1.98412698e-4, 1.38888889e-3);
  p = fma(p, r, 8.33333333e-3);
  p = fma(p, r, 4.16666667e-2);
  p = fma(p, r, 1.66666667e-1);
  p = fma(p, r, 0.5);
  return select(fma(p * r, r, r) + 1.0, 0.0, x < -86.0) * bitcast<f32>(u32(max(power, -126) + 127) << 23u);
}

// Elementary functions within about 2 units in the last place, from arithmetic only. WGSL lets a driver's exp, log and tanh be far
// less exact (llvmpipe: 4e-6 relative for exp, 1e-2 for tanh near 0), which loses digits in softmax, losses and activations.
// NaN comes out as NaN: it must reach the losses, not vanish in a clamp.

// 2^n for n in [-252, 254], in two factors because 2^n itself may be too small or too large for an f32.
fn scaleByPower(value: f32, n: i32) -> f32 {
  let half = n / 2;
  return value * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(n - half + 127) << 23u);
}

// Added to a number below 2^22, this rounds it: a sum of this size has no digits behind the point, and its lowest bits are the number.
const ROUNDING = 12582912.0;

// e^(x - n log(2)) for the nearest n: a minimax polynomial (fitted for this project) on |r| <= log(2) / 2, error 3e-9. `same`: n again, by
// another way, since Mesa would join the products.
fn expOfRemainder(x: f32, n: f32, same: f32) -> f32 {
  // log(2) in two parts, the first short enough for n times it to be exact.
  let r = fma(n, 2.12194440e-4, fma(same, -0.693359375, x));
  var p = fma(r, 1.38145387e-3, 8.36874575e-3);
  p = fma(p, r, 4.16683908e-2);
  p = fma(p, r, 1.66665204e-1);
  p = fma(p, r, 0.499999934);
  return fma(p * r, r, r) + 1.0;
}

// e^x = 2^n e^r.
fn preciseExp(x: f32) -> f32 {
  let rounded = clamp(fma(x, 1.44269504, ROUNDING), ROUNDING - 160.0, ROUNDING + 160.0);
  let n = i32(bitcast<u32>(rounded) - bitcast<u32>(ROUNDING));
  let y = scaleByPower(expOfRemainder(x, f32(n), rounded - ROUNDING), n);
  return select(y, 0.0, x < -110.0);
}

// log((1 + s) / (1 - s)) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...), for |s| <= 1/3.
fn logOfRatio(s: f32) -> f32 {
  let z = s * s;
  var p = fma(z, 5.88235294e-2, 6.66666667e-2);
  p = fma(p, z, 7.69230769e-2);
  p = fma(p, z, 9.09090909e-2);
  p = fma(p, z, 1.11111111e-1);
  p = fma(p, z, 1.42857143e-1);
  p = fma(p, z, 0.2);
  p = fma(p, z, 3.33333333e-1);
  return 2.0 * fma(p * z, s, s);
}

// log(x) for positive x that is not denormal; the driver's log elsewhere (0, negative numbers, infinity, NaN).
fn preciseLog(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if (bits < 0x00800000u || bits >= 0x7f800000u) { return log(x); }
  // x = 2^n m with m in [sqrt(1/2), sqrt(2)).
  let n = i32((bits - 0x3f3504f3u) >> 23u) - select(0, 512, bits < 0x3f3504f3u);
  let m = bitcast<f32>(bits - (u32(n) << 23u));
  let r = logOfRatio((m - 1.0) / (m + 1.0));
  return fma(f32(n), 0.693359375, fma(f32(n), -2.12194440e-4, r));
}

// log(1 + y) for y in [0, 1].
fn preciseLogOnePlus(y: f32) -> f32 {
  return logOfRatio(y / (2.0 + y));
}

// e^x for x <= 0, as preciseExp but 0 where that is no normal number: 2^n is then one factor, whose exponent is n + 127.
fn expOfNegative(x: f32) -> f32 {
  let biased = ROUNDING + 127.0;
  let rounded = max(fma(x, 1.44269504, biased), biased - 126.0);
  let n = rounded - biased;
  let y = expOfRemainder(x, n, -abs(n)) * bitcast<f32>(bitcast<u32>(rounded) << 23u);
  return select(y, 0.0, x < -87.0);
}

// 1 / (1 + e^-x), without overflow.
fn sigmoid(x: f32) -> f32 {
  let t = expOfNegative(-abs(x));
  return select(t, 1.0, x >= 0.0) / (1.0 + t);
}

// tanh(x): a continued fraction near 0, where 1 - 2 / (e^2x + 1) would cancel.
fn preciseTanh(x: f32) -> f32 {
  let z = x * x;
  let near = x * fma(z, z + 105.0, 945.0) / fma(z, fma(z, 15.0, 420.0), 945.0);
  let far = 1.0 - 2.0 / (preciseExp(2.0 * abs(x)) + 1.0);
  return select(select(far, -far, x < 0.0), near, abs(x) < 0.55);
}

// erf(x): minimax polynomials (fitted for this project) of erf(x) / x and, further out, of -log(1 - erf(x)) / x; errors 6e-10 and 3e-9.
fn preciseErf(x: f32) -> f32 {
  let z = x * x;
  var near = fma(z, 8.18511888e-5, -8.09771125e-4);
  near = fma(near, z, 5.19695319e-3);
  near = fma(near, z, -2.68577058e-2);
  near = fma(near, z, 1.12836637e-1);
  near = fma(near, z, -3.76126319e-1);
  near = fma(near, z, 1.28379230e-1);
  let t = select(abs(x), 4.0, abs(x) > 4.0);
  var far = fma(t, -2.14594969e-4, 3.21997516e-3);
  far = fma(far, t, -2.29060296e-2);
  far = fma(far, t, 1.05286852e-1);
  far = fma(far, t, 6.35699391e-1);
  far = fma(far, t, 1.12852001);
  far = 1.0 - preciseExp(-far * t);
  return select(select(far, -far, x < 0.0), fma(near, x, x), abs(x) < 0.9375);
}

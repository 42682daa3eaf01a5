// Statistics of a token over codes, in one lane, relative to the token's largest logit.
struct Statistics {
  best: f32,         // largest difference from the maximum, after sharpening
  code: u32,         // the code that has it
  sum: f32,          // sum of exp(difference)
  sharpSum: f32,     // sum of exp(difference / T)
  sharpMoment: f32,  // sum of exp(difference / T) difference
}

// Probabilities below exp(-60) count as 0: they change no sum, and neither they nor gradients made of them become denormal numbers, whose
// arithmetic takes CPUs a hundred times as long.
const NOTHING = -60.0;

// e^x for x that is at most slightly positive, within about 2 units in the last place; 0 below NOTHING. A driver's exp may be off by
// 4e-6, which 1 / T amplifies. x = n log(2) + r with |r| <= log(2) / 2, and the Taylor series of e^r to r^7.
fn decay(x: vec4f) -> vec4f {
  let y = max(x, vec4f(-64.0));
  let n = round(y * 1.44269504);
  let power = vec4i(n);
  // log(2) in two parts, the first short enough for n times it to be exact. Two names for n, since Mesa would join the products.
  let r = fma(vec4f(power), vec4f(2.12194440e-4), fma(n, vec4f(-0.693359375), y));
  var p = fma(r, vec4f(1.98412698e-4), vec4f(1.38888889e-3));
  p = fma(p, r, vec4f(8.33333333e-3));
  p = fma(p, r, vec4f(4.16666667e-2));
  p = fma(p, r, vec4f(1.66666667e-1));
  p = fma(p, r, vec4f(0.5));
  return select(fma(p * r, r, r) + 1.0, vec4f(), x < vec4f(NOTHING)) * bitcast<vec4f>(vec4u(power + 127) << vec4u(23u));
}

// What a lane walks of a row of a band: every `rowLanes`th vector from `first` on. A workgroup has as many rows as its lanes allow; as many
// lanes as share a row lie side by side.
struct Walk { row: u32, first: u32, end: u32, part: u32 }

fn walkOf(workgroup: vec3u, lane: u32) -> Walk {
  let begin = workgroup.x * params.span;
  let share = lane % params.rowLanes;
  return Walk(
    workgroup.y * (THREADS / params.rowLanes) + lane / params.rowLanes,
    begin + share,
    min(begin + params.span, params.quads),
    params.firstPart + workgroup.x * params.rowLanes + share,
  );
}

fn total(x: vec4f) -> f32 { return (x.x + x.y) + (x.z + x.w); }

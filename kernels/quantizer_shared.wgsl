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

// e^x for x that is at most slightly positive, so that its power of two is 1; 0 below NOTHING.
fn decay(x: vec4f) -> vec4f {
  // Without the bound, some of what is not taken would be denormal on the way.
  let z = max(x, vec4f(-64.0));
  let y = vec4f(expOfNegative(z.x), expOfNegative(z.y), expOfNegative(z.z), expOfNegative(z.w));
  return select(y, vec4f(), x < vec4f(NOTHING));
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

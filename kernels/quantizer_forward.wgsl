// From the logits of a block of tokens to their statistics and the average probabilities. A row of logits is `stride` vectors of four
// long; a workgroup takes a share of `span` of them. Once `differences` has run, the logits are differences from the row's maximum.

struct Params {
  rows: u32, codes: u32, quads: u32, stride: u32, span: u32, parts: u32, firstCode: u32, firstPart: u32, depth: u32,
  mostSharpened: u32, accumulate: u32, largeLogit: f32, inverseTemperature: f32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;                 // (rows, stride)
@group(0) @binding(2) var<storage, read_write> partMaxima: array<f32>;         // (rows, parts)

@group(0) @binding(1) var<storage, read> maximaOfParts: array<f32>;            // (rows, parts)
@group(0) @binding(2) var<storage, read_write> maxima: array<f32>;             // (rows)

@group(0) @binding(1) var<storage, read_write> differing: array<vec4f>;        // (rows, stride)
@group(0) @binding(2) var<storage, read> largest: array<f32>;                  // (rows)
@group(0) @binding(3) var<storage, read> z: array<f32>;                        // (rows, depth)
@group(0) @binding(4) var<storage, read> codebook: array<f32>;                 // (codes, depth), from `firstCode` on
@group(0) @binding(5) var<storage, read_write> partials: array<Statistics>;    // (rows, parts)

@group(0) @binding(1) var<storage, read> statisticsOfParts: array<Statistics>; // (rows, parts)
@group(0) @binding(3) var<storage, read_write> rowStatistics: array<vec4f>;    // (rows): max, log Σ at 1, log Σ at T, entropy at T
@group(0) @binding(4) var<storage, read_write> indices: array<u32>;            // (rows)
@group(0) @binding(5) var<storage, read_write> rowEntropies: array<f32>;       // (rows)

@group(0) @binding(2) var<storage, read> statisticsOfRows: array<vec4f>;       // (rows), as rowStatistics
@group(0) @binding(3) var<storage, read_write> averages: array<vec4f>;         // (parts, quads)

@group(0) @binding(1) var<storage, read> averageParts: array<f32>;             // (parts, 4 quads)
@group(0) @binding(2) var<storage, read_write> average: array<f32>;            // (codes)

@group(0) @binding(1) var<storage, read> probabilities: array<f32>;            // (codes)
@group(0) @binding(2) var<storage, read_write> entropyTerms: array<f32>;       // (codes)

@group(0) @binding(1) var<storage, read> chosen: array<u32>;                   // (rows)
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;     // (codes)

// Of codes that are not there, and below every logit.
const NONE = -1e30f;
const NO_CODE = 0xffffffffu;
// Probabilities of logits closer than this are equal in f32, and the lower index wins, as in the reference.
const TIE = 0x1p-25;

fn codesOf(quad: u32) -> vec4u { return vec4u(4u * quad) + vec4u(0u, 1u, 2u, 3u); }

// Four logits; NONE past the last code. A vector past the share repeats its last one.
fn logitsAt(row: u32, quad: u32, end: u32) -> vec4f {
  let at = min(quad, end - 1u);
  return select(vec4f(NONE), logits[row * params.stride + at], codesOf(at) < vec4u(params.codes));
}

// The largest logit of each lane's share of a row.
@compute @workgroup_size(THREADS)
fn maximaOfShares(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = w.y;
  let begin = w.x * params.span;
  let end = min(begin + params.span, params.quads);
  var most = vec4f(NONE);
  for (var quad = begin + lane; quad < end; quad += 4u * THREADS) {
    most = max(most, max(
      max(logitsAt(row, quad, end), logitsAt(row, quad + THREADS, end)),
      max(logitsAt(row, quad + 2u * THREADS, end), logitsAt(row, quad + 3u * THREADS, end)),
    ));
  }
  partMaxima[row * params.parts + w.x * THREADS + lane] = max(max(most.x, most.y), max(most.z, most.w));
}

@compute @workgroup_size(THREADS)
fn mergeMaxima(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  var most = maximaOfParts[row * params.parts];
  for (var part = 1u; part < params.parts; part++) { most = max(most, maximaOfParts[row * params.parts + part]); }
  maxima[row] = most;
}

// A power of two: 1/64 of the one that x lies above, so that multiples up to x have at most 7 bits.
fn unitBelow(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) & 0x7f800000u) * 0.015625;
}

// A logit as the sum of two numbers: an f32, and about what it lacks. Multiples of a power of two with few bits are cut off z and the
// code; their products add up without rounding, and what is left is small, and so are its rounding errors.
fn sharpLogit(row: u32, code: u32) -> vec2f {
  var zMaximum = 0f;
  var eMaximum = 0f;
  for (var at = 0u; at < params.depth; at++) {
    zMaximum = max(zMaximum, abs(z[row + at]));
    eMaximum = max(eMaximum, abs(codebook[code + at]));
  }
  let zUnit = unitBelow(zMaximum);
  let eUnit = unitBelow(eMaximum);
  var coarse = 0f;
  var fine = 0f;
  for (var at = 0u; at < params.depth; at++) {
    let x = z[row + at];
    let y = codebook[code + at];
    let xSteps = round(x / zUnit);
    let ySteps = round(y / eUnit);
    let xCoarse = xSteps * zUnit;
    coarse = fma(xSteps, ySteps, coarse);
    fine = fma(xCoarse, y - ySteps * eUnit, fma(x - xCoarse, y, fine));
  }
  let high = coarse * (zUnit * eUnit);
  // The last bit is cut off so that compilers do not take the rounding of this sum for none.
  let rounded = bitcast<f32>(bitcast<u32>(high + fine) & 0xfffffffeu);
  return vec2f(rounded, (high - rounded) + fine);
}

struct Sums { sum: vec4f, sharpSum: vec4f, sharpMoment: vec4f, codes: vec4u }

fn join(a: Sums, b: Sums) -> Sums {
  return Sums(a.sum + b.sum, a.sharpSum + b.sharpSum, a.sharpMoment + b.sharpMoment, min(a.codes, b.codes));
}

// Four logits become differences from the maximum and are summed up, but for those that will be sharpened.
fn subtract(row: u32, quad: u32, end: u32, maximum: f32, near: f32) -> Sums {
  let at = row * params.stride + min(quad, end - 1u);
  let codes = codesOf(quad);
  let d = select(vec4f(NONE), differing[at] - maximum, codes < vec4u(params.codes));
  if (quad < end) { differing[at] = d; }
  let counted = select(d, vec4f(NONE), (d > vec4f(near)) | vec4<bool>(quad >= end));
  let f = decay(counted * params.inverseTemperature);
  return Sums(decay(counted), f, f * counted, select(vec4u(NO_CODE), codes, counted >= vec4f(-TIE)));
}

// Turns logits into differences from the row's maximum, and sums up their exponentials. Where the maximum is large, differences that
// count at the entropy's temperature are sharpened, as 1 / T amplifies what f32 rounds off: at most `mostSharpened` a lane; where more
// compete, none matters by itself.
@compute @workgroup_size(THREADS)
fn differences(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = w.y;
  let begin = params.firstCode / 4u + w.x * params.span;
  let end = min(begin + params.span, params.quads);
  let maximum = largest[row];
  let near = select(-NONE, NOTHING / params.inverseTemperature, abs(maximum) > params.largeLogit);
  var sums = Sums(vec4f(), vec4f(), vec4f(), vec4u(NO_CODE));
  for (var quad = begin + lane; quad < end; quad += 4u * THREADS) {
    sums = join(sums, join(
      join(subtract(row, quad, end, maximum, near), subtract(row, quad + THREADS, end, maximum, near)),
      join(subtract(row, quad + 2u * THREADS, end, maximum, near), subtract(row, quad + 3u * THREADS, end, maximum, near)),
    ));
  }
  let code = min(min(sums.codes.x, sums.codes.y), min(sums.codes.z, sums.codes.w));
  var state = Statistics(
    select(0.0, NONE, code == NO_CODE), code, total(sums.sum), total(sums.sharpSum), total(sums.sharpMoment),
  );
  // Of the lane's own differences, in the order of the codes.
  let cells = select(4u * ((params.span + THREADS - 1u) / THREADS), 0u, near > 0.0);
  var left = params.mostSharpened;
  for (var cell = 0u; cell < cells; cell++) {
    var quad = begin + lane + cell / 4u * THREADS;
    while (cell < cells && !(quad < end && differing[row * params.stride + min(quad, end - 1u)][cell % 4u] > near)) {
      cell++;
      quad = begin + lane + cell / 4u * THREADS;
    }
    if (cell < cells) {
      let at = row * params.stride + quad;
      let k = 4u * quad + cell % 4u;
      var d = differing[at][cell % 4u];
      if (left > 0u) {
        left--;
        let logit = sharpLogit(row * params.depth, (k - params.firstCode) * params.depth);
        d = (logit.x - maximum) + logit.y;
        differing[at][cell % 4u] = d;
      }
      let f = decay(vec4f(d, d * params.inverseTemperature, 0.0, 0.0));
      let better = d - state.best > TIE;
      state = Statistics(
        select(state.best, d, better), select(state.code, k, better), state.sum + f.x, state.sharpSum + f.y, state.sharpMoment + f.y * d,
      );
    }
  }
  partials[row * params.parts + params.firstPart + w.x * THREADS + lane] = state;
}

// The statistics of a row from those of the lanes that shared it.
@compute @workgroup_size(THREADS)
fn finishRows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  var state = statisticsOfParts[row * params.parts];
  for (var part = 1u; part < params.parts; part++) {
    let next = statisticsOfParts[row * params.parts + part];
    let equal = abs(next.best - state.best) <= TIE;
    let better = select(next.best > state.best, next.code < state.code, equal);
    state = Statistics(
      select(state.best, next.best, better),
      select(state.code, next.code, better),
      state.sum + next.sum,
      state.sharpSum + next.sharpSum,
      state.sharpMoment + next.sharpMoment,
    );
  }
  let sharp = preciseLog(state.sharpSum);
  let entropy = sharp - params.inverseTemperature * state.sharpMoment / state.sharpSum;
  indices[row] = state.code;
  rowStatistics[row] = vec4f(largest[row], preciseLog(state.sum), sharp, entropy);
  rowEntropies[row] = entropy;
}

// Probabilities at the entropy's temperature of four codes of a row; a vector past the row repeats its last one.
fn probabilitiesAt(row: u32, quad: u32, logSum: f32) -> vec4f {
  return decay(logits[row * params.stride + min(quad, params.quads - 1u)] * params.inverseTemperature - logSum);
}

// Sums over a range of rows of the probabilities at the entropy's temperature, by code.
@compute @workgroup_size(THREADS)
fn sumProbabilities(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let quad = 4u * THREADS * w.x + lane;
  let begin = w.y * params.span;
  let end = min(begin + params.span, params.rows);
  var a = vec4f();
  var b = vec4f();
  var c = vec4f();
  var d = vec4f();
  for (var row = begin; row < end; row++) {
    let logSum = statisticsOfRows[row].z;
    a += probabilitiesAt(row, quad, logSum);
    b += probabilitiesAt(row, quad + THREADS, logSum);
    c += probabilitiesAt(row, quad + 2u * THREADS, logSum);
    d += probabilitiesAt(row, quad + 3u * THREADS, logSum);
  }
  let at = w.y * params.quads + quad;
  if (quad < params.quads) { averages[at] = a; }
  if (quad + THREADS < params.quads) { averages[at + THREADS] = b; }
  if (quad + 2u * THREADS < params.quads) { averages[at + 2u * THREADS] = c; }
  if (quad + 3u * THREADS < params.quads) { averages[at + 3u * THREADS] = d; }
}

// The average probabilities from their sums over ranges of rows.
@compute @workgroup_size(THREADS)
fn mergeAverages(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let code = flatIndex(w, n, l);
  if (code >= params.codes) { return; }
  var sum = 0.0;
  for (var part = 0u; part < params.parts; part++) { sum += averageParts[4u * part * params.quads + code]; }
  sum *= params.scale;
  average[code] = select(sum, sum + average[code], params.accumulate != 0u);
}

// -p log(p + 1e-5)
@compute @workgroup_size(THREADS)
fn averageEntropyTerms(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let code = flatIndex(w, n, l);
  if (code < params.codes) { entropyTerms[code] = -probabilities[code] * preciseLog(probabilities[code] + 1e-5); }
}

// Adds 1 to the count of each chosen code.
@compute @workgroup_size(THREADS)
fn countCodes(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let code = chosen[row] - params.firstCode;
  if (code < params.codes) { atomicAdd(&counts[code], 1u); }
}

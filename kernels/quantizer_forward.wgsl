// From the logits of a block of tokens to their statistics and the average probabilities. Most passes take a band of codes. A row of a
// band is `stride` vectors of four long, `quads` of which hold logits; a workgroup takes a share of `span` of them.

struct Params {
  rows: u32, codes: u32, quads: u32, stride: u32, span: u32, rowLanes: u32, parts: u32, bands: u32, band: u32, firstCode: u32,
  firstPart: u32, depth: u32, mostSharpened: u32, accumulate: u32, largeLogit: f32, near: f32, inverseTemperature: f32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> differing: array<vec4f>;        // (rows, stride)
@group(0) @binding(2) var<storage, read_write> partials: array<Statistics>;    // (rows, parts)

@group(0) @binding(1) var<storage, read> statisticsOfParts: array<Statistics>; // (rows, parts)
@group(0) @binding(3) var<storage, read_write> maxima: array<f32>;             // (rows)
@group(0) @binding(4) var<storage, read_write> bases: array<f32>;              // (rows, bands): what is to be subtracted from logits

@group(0) @binding(3) var<storage, read> largest: array<f32>;                  // (rows): maxima
@group(0) @binding(4) var<storage, read> basesOfRows: array<f32>;              // (rows, bands): bases
@group(0) @binding(5) var<storage, read> z: array<f32>;                        // (rows, depth)
@group(0) @binding(6) var<storage, read> codebook: array<f32>;                 // (codes, depth)

@group(0) @binding(5) var<storage, read_write> rowStatistics: array<vec4f>;    // (rows): max, log Σ at 1, log Σ at T, entropy at T
@group(0) @binding(6) var<storage, read_write> indices: array<u32>;            // (rows)
@group(0) @binding(7) var<storage, read_write> rowEntropies: array<f32>;       // (rows)

@group(0) @binding(1) var<storage, read> logits: array<vec4f>;                 // (rows, stride)
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

// Codes of the band.
fn codesOf(quad: u32) -> vec4u { return vec4u(4u * quad) + vec4u(0u, 1u, 2u, 3u); }

// Four logits; NONE from the end on.
fn logitsAt(row: u32, quad: u32, end: u32) -> vec4f {
  let at = row * params.stride + min(quad, params.quads - 1u);
  return select(vec4f(NONE), differing[at], codesOf(quad) < vec4u(end));
}

// The largest logit of each lane's share of a row, and the sum of exponentials relative to it.
@compute @workgroup_size(THREADS)
fn statisticsOfShares(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let walk = walkOf(w, lane);
  let row = walk.row;
  if (row >= params.rows) { return; }
  let step = params.rowLanes;
  let end = min(4u * walk.end, params.codes);
  var most = vec4f(NONE);
  var sum = vec4f();
  for (var quad = walk.first; quad < walk.end; quad += 4u * step) {
    let a = logitsAt(row, quad, end);
    let b = logitsAt(row, quad + step, end);
    let c = logitsAt(row, quad + 2u * step, end);
    let d = logitsAt(row, quad + 3u * step, end);
    let before = most;
    most = max(before, max(max(a, b), max(c, d)));
    sum = fma(sum, decay(before - most), (decay(a - most) + decay(b - most)) + (decay(c - most) + decay(d - most)));
  }
  let best = max(max(most.x, most.y), max(most.z, most.w));
  partials[row * params.parts + walk.part] = Statistics(best, NO_CODE, total(sum * decay(most - best)), 0.0, 0.0);
  // What fills the last vector.
  if (walk.first == 0u) {
    for (var code = params.codes; code < 4u * params.quads; code++) { differing[row * params.stride + code / 4u][code % 4u] = NONE; }
  }
}

// The largest logit of each row. Bands with a logit that is near it get the base 0, for `differences` leaves differences there; from other
// logits the maximum remains to be subtracted.
@compute @workgroup_size(THREADS)
fn mergeMaxima(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let bandParts = params.parts / params.bands;
  var most = NONE;
  for (var band = 0u; band < params.bands; band++) {
    var bandMost = NONE;
    for (var part = band * bandParts; part < (band + 1u) * bandParts; part++) {
      bandMost = max(bandMost, statisticsOfParts[row * params.parts + part].best);
    }
    bases[row * params.bands + band] = bandMost;
    most = max(most, bandMost);
  }
  maxima[row] = most;
  for (var at = row * params.bands; at < (row + 1u) * params.bands; at++) {
    bases[at] = select(most, 0.0, bases[at] - most > min(params.near, -TIE));
  }
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

// Differences of four codes as they are counted: NONE past the share, and for those that will be sharpened.
fn counted(d: vec4f, quad: u32, end: u32, sharpened: f32) -> vec4f {
  return select(d, vec4f(NONE), (d > vec4f(sharpened)) | vec4<bool>(quad >= end));
}

// Four logits become differences from the maximum; NONE past the last code.
fn subtract(row: u32, quad: u32, end: u32, maximum: f32, sharpened: f32) -> vec4f {
  let at = row * params.stride + min(quad, end - 1u);
  let d = select(vec4f(NONE), differing[at] - maximum, codesOf(quad) < vec4u(params.codes));
  if (quad < end) { differing[at] = d; }
  return counted(d, quad, end, sharpened);
}

// Turns logits into differences from the row's maximum, and sums up their exponentials, where one of the band is near it. Where the
// maximum is large, differences that count at the entropy's temperature are sharpened, as 1 / T amplifies what f32 rounds off: at most
// `mostSharpened` a lane; where more compete, none matters by itself. What only differences near 0 take part in stands in loops that mostly
// do nothing: a software adapter skips no branches.
@compute @workgroup_size(THREADS)
fn differences(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let walk = walkOf(w, lane);
  let row = walk.row;
  if (row >= params.rows || basesOfRows[row * params.bands + params.band] != 0.0) { return; }
  let end = walk.end;
  let stride = params.rowLanes;
  let maximum = largest[row];
  let sharpened = select(-NONE, params.near, abs(maximum) > params.largeLogit);
  var sum = vec4f();
  var sharpSum = vec4f();
  var sharpMoment = vec4f();
  var firstCodes = vec4u(NO_CODE);
  for (var quad = walk.first; quad < end; quad += 4u * stride) {
    let a = subtract(row, quad, end, maximum, sharpened);
    let b = subtract(row, quad + stride, end, maximum, sharpened);
    let c = subtract(row, quad + 2u * stride, end, maximum, sharpened);
    let d = subtract(row, quad + 3u * stride, end, maximum, sharpened);
    sum += (decay(a) + decay(b)) + (decay(c) + decay(d));
    let steps = select(0u, 4u, any(max(max(a, b), max(c, d)) > vec4f(min(params.near, -TIE))));
    for (var step = 0u; step < steps; step++) {
      let at = quad + step * stride;
      let d = counted(differing[row * params.stride + min(at, end - 1u)], at, end, sharpened);
      let f = decay(d * params.inverseTemperature);
      sharpSum += f;
      sharpMoment += f * d;
      firstCodes = min(firstCodes, select(vec4u(NO_CODE), codesOf(at), d >= vec4f(-TIE)));
    }
  }
  let code = min(min(firstCodes.x, firstCodes.y), min(firstCodes.z, firstCodes.w));
  let known = code != NO_CODE;
  let firstCode = select(NO_CODE, params.firstCode + code, known);
  var state = Statistics(select(NONE, 0.0, known), firstCode, total(sum), total(sharpSum), total(sharpMoment));
  // Of the lane's own differences, in the order of the codes.
  var quad = walk.first;
  let last = select(end, 0u, sharpened > 0.0);
  var left = params.mostSharpened;
  while (quad < last) {
    while (quad < last && all(differing[row * params.stride + min(quad, end - 1u)] <= vec4f(sharpened))) { quad += stride; }
    let at = row * params.stride + min(quad, end - 1u);
    for (var i = 0u; i < 4u && quad < last; i++) {
      var d = differing[at][i];
      if (d > sharpened) {
        let code = 4u * quad + i;
        if (left > 0u) {
          left--;
          let logit = sharpLogit(row * params.depth, code * params.depth);
          d = (logit.x - maximum) + logit.y;
          differing[at][i] = d;
        }
        let f = decay(vec4f(d, d * params.inverseTemperature, 0.0, 0.0));
        let better = d - state.best > TIE;
        state.best = select(state.best, d, better);
        state.code = select(state.code, params.firstCode + code, better);
        state.sum += f.x;
        state.sharpSum += f.y;
        state.sharpMoment += f.y * d;
      }
    }
    quad += stride;
  }
  partials[row * params.parts + walk.part] = state;
}

// The statistics of a row from those of the lanes that shared it.
@compute @workgroup_size(THREADS)
fn finishRows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = flatIndex(w, n, l);
  if (row >= params.rows) { return; }
  let maximum = largest[row];
  let bandParts = params.parts / params.bands;
  var state = Statistics(NONE, NO_CODE, 0.0, 0.0, 0.0);
  for (var part = 0u; part < params.parts; part++) {
    var next = statisticsOfParts[row * params.parts + part];
    if (basesOfRows[row * params.bands + part / bandParts] != 0.0) {
      next = Statistics(NONE, NO_CODE, next.sum * decay(vec4f(next.best - maximum)).x, 0.0, 0.0);
    }
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
  rowStatistics[row] = vec4f(maximum, preciseLog(state.sum), sharp, entropy);
  rowEntropies[row] = entropy;
}

fn probabilities4(row: u32, quad: u32, logSum: f32) -> vec4f {
  return decay(logits[row * params.stride + min(quad, params.quads - 1u)] * params.inverseTemperature - logSum);
}

// Sums over a range of rows of the probabilities at the entropy's temperature, by code. Rows without any in the band are passed over
// by a loop that does not touch the sums.
@compute @workgroup_size(THREADS)
fn sumProbabilities(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) lane: u32) {
  let quad = 4u * THREADS * w.x + lane;
  let begin = w.y * params.span;
  let end = min(begin + params.span, params.rows);
  var a = vec4f();
  var b = vec4f();
  var c = vec4f();
  var d = vec4f();
  var row = begin;
  while (row < end) {
    while (row < end && basesOfRows[row * params.bands + params.band] != 0.0) { row++; }
    for (var i = 0u; i < 1u && row < end; i++) {
      let logSum = statisticsOfRows[row].z;
      a += probabilities4(row, quad, logSum);
      b += probabilities4(row, quad + THREADS, logSum);
      c += probabilities4(row, quad + 2u * THREADS, logSum);
      d += probabilities4(row, quad + 3u * THREADS, logSum);
    }
    row++;
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

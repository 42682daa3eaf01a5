/** Text that the quantizer's passes share: operands, register tiles of inner products, and their sharpening. @module */

/** Shape of the register tile of one lane, and what a pass computes with it. */
export interface QuantizerTile {
  /** Tokens of a lane. */
  rows: number;
  /** Codes of a lane; the codes of neighboring lanes are neighbors. */
  codes: number;
  /** Whether vectors are read four numbers at a time: their length is a multiple of 4. */
  vector: boolean;
  /** Whether the terms at the entropy's temperature are computed. */
  entropy: boolean;
  /** Whether logits near the largest are sharpened; the same in all passes of a quantization, or probabilities do not add up to 1. */
  sharp: boolean;
  /** Whether the terms of the straight-through gradient are computed (backward passes). */
  straightThrough: boolean;
}

/** Logits of a row that a lane sharpens of each tile, at most; where more compete, none matters by itself. */
const SHARPENED = 4;

/**
 * Counts the loop iterations of one step of a pass, at most.
 *
 * @param tile The tile.
 * @param dimensions Length of a code.
 * @returns Iterations, inner loops included.
 */
export function iterationsOf(tile: QuantizerTile, dimensions: number): number {
  const depth = tile.vector ? dimensions / 4 : dimensions;
  return 1 + depth + (tile.sharp ? tile.rows * (1 + SHARPENED * (1 + 2 * depth)) : 0);
}

/**
 * Writes a text once for each number below a bound.
 *
 * @param count The bound.
 * @param text The text of one number.
 * @param separator Between the texts. Default: a line break.
 * @returns The texts, joined.
 */
export function each(count: number, text: (i: number) => string, separator = "\n"): string {
  return Array.from({ length: count }, (_, i) => text(i)).join(separator);
}

/**
 * Writes a text once for each cell of a tile.
 *
 * @param tile The tile.
 * @param text The text of row i and code j.
 * @returns The texts, a line each.
 */
export function eachCell(tile: QuantizerTile, text: (i: number, j: number) => string): string {
  return each(tile.rows, (i) => each(tile.codes, (j) => text(i, j)));
}

/**
 * Declares what the passes read.
 *
 * @param tile The tile.
 * @returns Element type, parameters, bindings and functions.
 */
export function prelude(tile: QuantizerTile): string {
  return `
alias Element = ${tile.vector ? "vec4f" : "f32"};
struct Params { rows: u32, codes: u32, depth: u32, firstCode: u32, span: u32, stride: u32, inverseTemperature: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<Element>;         // (rows, depth)
@group(0) @binding(2) var<storage, read> codebook: array<Element>;  // (codes, depth)
@group(0) @binding(3) var<storage, read> rowStatistics: array<vec4f>; // (rows): max, log Σ at 1, log Σ at T, entropy at T
@group(0) @binding(4) var<storage, read> dzq: array<Element>;       // (rows, depth)
@group(0) @binding(5) var<storage, read> codeWeights: array<f32>;   // (codes)
@group(0) @binding(6) var<storage, read> rowSums: array<vec2f>;     // (rows)
@group(0) @binding(7) var<storage, read> coefficients: array<f32>;
${tile.sharp ? sharpText(tile.vector) : ""}`;
}

/**
 * A logit as the sum of two numbers: an f32, and about what it lacks. Multiples of a power of two with few bits are cut off z and the
 * code; their products add up without rounding, and what is left is small, and so are its rounding errors.
 */
function sharpText(vector: boolean): string {
  const largest = (x: string): string =>
    vector ? `max(max(${x}.x, ${x}.y), max(${x}.z, ${x}.w))` : x;
  const sum = (x: string): string => vector ? `(${x}.x + ${x}.y) + (${x}.z + ${x}.w)` : x;
  return `
const LARGE_LOGIT = 8.0;

// A power of two: 1/64 of the one that x lies above, so that multiples up to x have at most 7 bits.
fn unitBelow(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) & 0x7f800000u) * 0.015625;
}

fn sharpLogit(row: u32, code: u32) -> vec2f {
  var zMaximum = Element();
  var eMaximum = Element();
  for (var at = 0u; at < params.depth; at++) {
    zMaximum = max(zMaximum, abs(z[row + at]));
    eMaximum = max(eMaximum, abs(codebook[code + at]));
  }
  let zUnit = unitBelow(${largest("zMaximum")});
  let eUnit = unitBelow(${largest("eMaximum")});
  var coarse = Element();
  var fine = Element();
  for (var at = 0u; at < params.depth; at++) {
    let x = z[row + at];
    let y = codebook[code + at];
    let xSteps = round(x / zUnit);
    let ySteps = round(y / eUnit);
    let xCoarse = xSteps * zUnit;
    coarse = fma(xSteps, ySteps, coarse);
    fine = fma(xCoarse, y - ySteps * eUnit, fma(x - xCoarse, y, fine));
  }
  let high = (${sum("coarse")}) * (zUnit * eUnit);
  let low = ${sum("fine")};
  // The last bit is cut off so that compilers do not take the rounding of this sum for none.
  let rounded = bitcast<f32>(bitcast<u32>(high + low) & 0xfffffffeu);
  return vec2f(rounded, (high - rounded) + low);
}
`;
}

/**
 * Defines r0, r1, …: where the tile's rows begin. Rows past the end read the last one, and are not stored.
 *
 * @param tile The tile.
 * @returns Statements.
 */
export function rowOffsets(tile: QuantizerTile): string {
  return each(tile.rows, (i) => `let r${i} = min(row0 + ${i}u, params.rows - 1u) * params.depth;`);
}

/**
 * Defines k0, k1, … and q0, q1, …: the tile's codes from `start` on, and where they begin. Codes past the end read the last one.
 *
 * @param tile The tile.
 * @returns Statements.
 */
export function codeOffsets(tile: QuantizerTile): string {
  return each(
    tile.codes,
    (j) =>
      `let k${j} = start + ${j}u * THREADS + lane; let q${j} = min(k${j}, params.codes - 1u) * params.depth;`,
  );
}

/**
 * Computes a0_0, a0_1, …, the products z·codebook of every cell of the tile, unrolled into registers.
 *
 * @param tile The tile.
 * @param gradient Whether to compute b0_0, …, the products dzq·codebook, as well.
 * @returns Statements.
 */
export function dots(tile: QuantizerTile, gradient: boolean): string {
  const components = tile.vector ? [".x", ".y", ".z", ".w"] : [""];
  const row = (name: string, source: string, i: number): string =>
    `{ let r = ${source}[r${i} + at];\n` +
    each(
      tile.codes,
      (j) =>
        components.map((c) => `${name}${i}_${j} = fma(r${c}, e${j}${c}, ${name}${i}_${j});`).join(
          " ",
        ),
    ) + "}";
  return `
${eachCell(tile, (i, j) => `var a${i}_${j} = 0f;${gradient ? ` var b${i}_${j} = 0f;` : ""}`)}
for (var at = 0u; at < params.depth; at++) {
${each(tile.codes, (j) => `let e${j} = codebook[q${j} + at];`)}
${each(tile.rows, (i) => row("a", "z", i) + (gradient ? `\n${row("b", "dzq", i)}` : ""))}
}`;
}

/**
 * Turns logits into differences from `m0`, `m1`, … (about the largest of each row), and sharpens those that count at the entropy's
 * temperature: 1 / T amplifies what f32 rounds off a large logit. One loop serves all cells, as its text is long.
 *
 * @param tile The tile.
 * @returns Statements.
 */
export function subtractMaxima(tile: QuantizerTile): string {
  const { rows, codes, sharp } = tile;
  const nears = (i: number): string =>
    `var near${i} = 0u;\n` +
    `if (abs(m${i}) > LARGE_LOGIT) { let threshold = -90.0 / params.inverseTemperature;\n` +
    each(codes, (j) => `near${i} |= select(0u, ${1 << j}u, a${i}_${j} > threshold);`) + "}";
  return `
${eachCell(tile, (i, j) => `a${i}_${j} -= m${i};`)}
${
    !sharp ? "" : `{
${each(rows, nears)}
if ((${each(rows, (i) => `near${i}`, " | ")}) != 0u) {
for (var i = 0u; i < ${rows}u; i++) {
var near = 0u;
var shift = 0f;
${each(rows, (i) => `if (i == ${i}u) { near = near${i}; shift = m${i}; }`)}
for (var left = ${SHARPENED}u; near != 0u && left > 0u; left--) {
let j = firstTrailingBit(near);
near &= near - 1u;
let logit = sharpLogit(
  min(row0 + i, params.rows - 1u) * params.depth,
  min(start + j * THREADS + lane, params.codes - 1u) * params.depth,
);
let difference = (logit.x - shift) + logit.y;
let cell = i * ${codes}u + j;
${
      eachCell(
        tile,
        (i, j) => `a${i}_${j} = select(a${i}_${j}, difference, cell == ${i * codes + j}u);`,
      )
    }
}
}
}
}`
  }`;
}

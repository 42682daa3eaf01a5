/**
 * WGSL of the quantizer's four passes over the codebook. Each computes logits in register tiles and uses them up at once, so that
 * nothing of size rows × codes is stored.
 *
 * @module
 */

import common from "./common.wgsl" with { type: "text" };
import { defineKernel, type Kernel } from "./kernel.ts";
import shared from "./quantizer_shared.wgsl" with { type: "text" };

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

/** The passes. */
export type QuantizerPass = "statistics" | "average" | "sumRows" | "logitGradients";

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

const kernels = new Map<string, Kernel>();

/**
 * Makes the kernel of a pass; each text is generated once.
 *
 * @param pass The pass; also the entry point.
 * @param tile Its tile.
 * @returns The kernel.
 */
export function quantizerKernel(pass: QuantizerPass, tile: QuantizerTile): Kernel {
  const key = `${pass} ${JSON.stringify(tile)}`;
  let kernel = kernels.get(key);
  if (!kernel) {
    kernel = defineKernel("quantizer", common, shared, prelude(tile), TEXTS[pass](tile));
    kernels.set(key, kernel);
  }
  return kernel;
}

const TEXTS: Record<QuantizerPass, (tile: QuantizerTile) => string> = {
  statistics: statisticsText,
  average: averageText,
  sumRows: sumRowsText,
  logitGradients: logitGradientsText,
};

const ENTRY =
  "@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) lane: u32";

function each(count: number, text: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => text(i)).join("\n");
}

function eachCell(tile: QuantizerTile, text: (i: number, j: number) => string): string {
  return each(tile.rows, (i) => each(tile.codes, (j) => text(i, j)));
}

function prelude(tile: QuantizerTile): string {
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

/** Offsets of the tile's rows; rows past the end read the last one, and are not stored. */
function rowOffsets(tile: QuantizerTile): string {
  return each(tile.rows, (i) => `let r${i} = min(row0 + ${i}u, params.rows - 1u) * params.depth;`);
}

/** The tile's codes from `start` on; codes past the end read the last one, and are masked. */
function codeOffsets(tile: QuantizerTile): string {
  return each(
    tile.codes,
    (j) =>
      `let k${j} = start + ${j}u * THREADS + lane; let q${j} = min(k${j}, params.codes - 1u) * params.depth;`,
  );
}

/** Declares and computes a = z·codebook and, if wanted, b = dzq·codebook for every cell of the tile. */
function dots(tile: QuantizerTile, gradient: boolean): string {
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
 */
function subtractMaxima(tile: QuantizerTile): string {
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
if ((${Array.from({ length: rows }, (_, i) => `near${i}`).join(" | ")}) != 0u) {
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

/** One pass over a range of codes: maximum, argmax, and sums of exponentials, by lane. */
function statisticsText(tile: QuantizerTile): string {
  const { rows, codes, entropy } = tile;
  const raise = (i: number): string =>
    `let d${i} = m${i}; ` + each(codes, (j) => `m${i} = max(m${i}, a${i}_${j});`);
  // Probabilities of logits closer than 2^-25 are equal in f32, and the lower index wins, as in the reference.
  const take = (i: number, j: number): string =>
    `{ let better = a${i}_${j} - b${i} > 0x1p-25; b${i} = select(b${i}, a${i}_${j}, better); n${i} = select(n${i}, k${j}, better); }`;
  const update = (i: number): string =>
    `{
let d = d${i} - m${i};
b${i} += d;
${each(codes, (j) => take(i, j))}
s${i} = s${i} * decay(d)${cells(codes, (j) => ` + decay(a${i}_${j})`)};
${
      !entropy ? "" : `let f = decay(d * params.inverseTemperature);
${each(codes, (j) => `let f${j} = decay(a${i}_${j} * params.inverseTemperature);`)}
t${i} = f * (t${i} + u${i} * d)${cells(codes, (j) => ` + f${j} * a${i}_${j}`)};
u${i} = f * u${i}${cells(codes, (j) => ` + f${j}`)};`
    }
}`;
  const names = (i: number): string =>
    `m${i}, b${i}, n${i} + params.firstCode, s${i}, u${i}, t${i}`;
  return `
// The maximum before any code: above that of masked codes, so that these add nothing to the sums.
const NONE = -1e29f;
@group(0) @binding(8) var<storage, read_write> partials: array<Statistics>; // (rows, splits, lanes)
@compute @workgroup_size(THREADS)
fn statistics(${ENTRY}) {
let row0 = workgroup.y * ${rows}u;
let begin = workgroup.x * params.span;
let end = min(begin + params.span, params.codes);
${rowOffsets(tile)}
${
    each(rows, (i) =>
      `var m${i} = NONE; var b${i} = NONE; var n${i} = begin; var s${i} = 0f; var t${i} = 0f; var u${i} = 0f;`)
  }
for (var start = begin; start < end; start += ${codes}u * THREADS) {
${codeOffsets(tile)}
${dots(tile, false)}
${eachCell(tile, (i, j) => `a${i}_${j} = select(-1e30f, a${i}_${j}, k${j} < end);`)}
${each(rows, raise)}
${subtractMaxima(tile)}
${each(rows, update)}
}
let parts = workgroups.x * THREADS;
let part = workgroup.x * THREADS + lane;
${
    each(rows, (i) =>
      `if (row0 + ${i}u < params.rows) { partials[(row0 + ${i}u) * parts + part] = Statistics(${
        names(i)
      }); }`)
  }
}`;
}

/** Statistics of the tile's rows as s0, s1, …, and their maxima as m0, m1, … */
function rowStatistics(tile: QuantizerTile): string {
  return each(
    tile.rows,
    (i) => `let s${i} = rowStatistics[min(row0 + ${i}u, params.rows - 1u)]; let m${i} = s${i}.x;`,
  );
}

/** Sums over a range of rows of the probabilities at the entropy's temperature, by code. */
function averageText(tile: QuantizerTile): string {
  const { rows, codes } = tile;
  return `
@group(0) @binding(8) var<storage, read_write> partials: array<f32>; // (splits, codes)
@compute @workgroup_size(THREADS)
fn average(${ENTRY}) {
let start = workgroup.x * ${codes}u * THREADS;
let begin = workgroup.y * params.span;
let end = min(begin + params.span, params.rows);
${codeOffsets(tile)}
${each(codes, (j) => `var p${j} = 0f;`)}
for (var row0 = begin; row0 < end; row0 += ${rows}u) {
${rowOffsets(tile)}
${dots(tile, false)}
${rowStatistics(tile)}
${subtractMaxima(tile)}
${each(codes, (j) => `var t${j} = 0f;`)}
${
    each(rows, (i) =>
      `if (row0 + ${i}u < end) {\n${
        each(codes, (j) =>
          `t${j} += decay(a${i}_${j} * params.inverseTemperature - s${i}.z);`)
      }}`)
  }
${each(codes, (j) => `p${j} += t${j};`)}
}
${
    each(codes, (j) =>
      `if (k${j} < params.codes) { partials[workgroup.y * params.codes + k${j}] = p${j}; }`)
  }
}`;
}

/** The sums over the codes that the softmax gradients subtract: Σ p (dzq·E) and Σ P weight, by lane. */
function sumRowsText(tile: QuantizerTile): string {
  const { rows, codes, entropy, straightThrough } = tile;
  return `
@group(0) @binding(8) var<storage, read_write> partials: array<vec2f>; // (rows, splits, lanes)
@compute @workgroup_size(THREADS)
fn sumRows(${ENTRY}) {
let row0 = workgroup.y * ${rows}u;
let begin = workgroup.x * params.span;
let end = min(begin + params.span, params.codes);
${rowOffsets(tile)}
${rowStatistics(tile)}
${each(rows, (i) => `var g${i} = 0f; var h${i} = 0f;`)}
for (var start = begin; start < end; start += ${codes}u * THREADS) {
${codeOffsets(tile)}
${entropy ? each(codes, (j) => `let w${j} = codeWeights[min(k${j}, params.codes - 1u)];`) : ""}
${dots(tile, straightThrough)}
${subtractMaxima(tile)}
${eachCell(tile, (i, j) => `a${i}_${j} = select(-1e30f, a${i}_${j}, k${j} < end);`)}
${
    each(rows, (i) =>
      (straightThrough
        ? `g${i} += ${
          sum(codes, (j) => `decay(a${i}_${j} - s${i}.y) * b${i}_${j}`)
        };`
        : "") +
      (entropy
        ? `h${i} += ${
          sum(codes, (j) => `decay(a${i}_${j} * params.inverseTemperature - s${i}.z) * w${j}`)
        };`
        : ""))
  }
}
let parts = workgroups.x * THREADS;
let part = workgroup.x * THREADS + lane;
${
    each(rows, (i) =>
      `if (row0 + ${i}u < params.rows) { partials[(row0 + ${i}u) * parts + part] = vec2f(g${i}, h${i}); }`)
  }
}`;
}

/** The gradient by the logits of a chunk of rows and codes; `coefficients` are those of the sample and of the average entropy. */
function logitGradientsText(tile: QuantizerTile): string {
  const { rows, codes, entropy, straightThrough } = tile;
  const cell = (i: number, j: number): string =>
    `{
var y = 0f;
${straightThrough ? `y += decay(a${i}_${j} - s${i}.y) * (b${i}_${j} - sums.x);` : ""}
${
      entropy
        ? `let logP = a${i}_${j} * params.inverseTemperature - s${i}.z;
y -= decay(logP) * (coefficients[0] * (logP + s${i}.w) + coefficients[1] * (w${j} - sums.y));`
        : ""
    }
if (k${j} < params.stride) { dlogits[(row0 + ${i}u) * params.stride + k${j}] = select(0f, y, k${j} < params.codes); }
}`;
  return `
@group(0) @binding(8) var<storage, read_write> dlogits: array<f32>; // (rows, stride); 0 past the last code
@compute @workgroup_size(THREADS)
fn logitGradients(${ENTRY}) {
let row0 = workgroup.y * ${rows}u;
let start = workgroup.x * ${codes}u * THREADS;
${rowOffsets(tile)}
${codeOffsets(tile)}
${rowStatistics(tile)}
${entropy ? each(codes, (j) => `let w${j} = codeWeights[min(k${j}, params.codes - 1u)];`) : ""}
${dots(tile, straightThrough)}
${subtractMaxima(tile)}
${
    each(rows, (i) =>
      `if (row0 + ${i}u < params.rows) {
let sums = rowSums[row0 + ${i}u];
${each(codes, (j) => cell(i, j))}
}`)
  }
}`;
}

/** Terms of a tile's codes that are added to something. */
function cells(count: number, text: (j: number) => string): string {
  return Array.from({ length: count }, (_, j) => text(j)).join("");
}

function sum(count: number, text: (j: number) => string): string {
  return Array.from({ length: count }, (_, j) => text(j)).join(" + ");
}

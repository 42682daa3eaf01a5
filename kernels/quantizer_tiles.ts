/**
 * WGSL of the quantizer's four passes over the codebook. Each computes logits in register tiles and uses them up at once, so that
 * nothing of size rows × codes is stored.
 *
 * @module
 */

import common from "./common.wgsl" with { type: "text" };
import { defineKernel, type Kernel } from "./kernel.ts";
import {
  codeOffsets,
  dots,
  each,
  eachCell,
  prelude,
  type QuantizerTile,
  rowOffsets,
  subtractMaxima,
} from "./quantizer_dots.ts";
import shared from "./quantizer_shared.wgsl" with { type: "text" };

/** The passes. */
export type QuantizerPass = "statistics" | "average" | "sumRows" | "logitGradients";

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
s${i} = s${i} * decay(d)${each(codes, (j) => ` + decay(a${i}_${j})`, "")};
${
      !entropy ? "" : `let f = decay(d * params.inverseTemperature);
${each(codes, (j) => `let f${j} = decay(a${i}_${j} * params.inverseTemperature);`)}
t${i} = f * (t${i} + u${i} * d)${each(codes, (j) => ` + f${j} * a${i}_${j}`, "")};
u${i} = f * u${i}${each(codes, (j) => ` + f${j}`, "")};`
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
          each(codes, (j) => `decay(a${i}_${j} - s${i}.y) * b${i}_${j}`, " + ")
        };`
        : "") +
      (entropy
        ? `h${i} += ${
          each(
            codes,
            (j) => `decay(a${i}_${j} * params.inverseTemperature - s${i}.z) * w${j}`,
            " + ",
          )
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

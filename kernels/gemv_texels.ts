/** The generator of products of few rows for software adapters: weights in textures, and all in one dispatch. @module */

import common from "./common.wgsl" with { type: "text" };
import { GEMV_LANES, vectorOfRows } from "./gemv_source.ts";
import storeSource from "./gemv_store.wgsl" with { type: "text" };
import { defineKernel, type Kernel } from "./kernel.ts";
import { COMPONENTS, range } from "./matmul_form.ts";
import special from "./special.wgsl" with { type: "text" };
import texelsSource from "./texels.wgsl" with { type: "text" };

/** What one such kernel computes. */
export interface TexelGemvForm {
  /** Rows. */
  rows: 1 | 2 | 4;
  /** Length of a row. */
  inputs: number;
  /** Whether the weights are f16, two in a number of a texel. */
  half: boolean;
  /** Whether there are two arrays of weights. */
  paired: boolean;
  /** Whether rows are normalized and modulated when they are loaded. */
  normed: boolean;
}

/**
 * Outputs whose sums the lanes store before they add them up, each lane those of every eighth: so many that the text of one array of
 * weights, of thousands of instructions, is not forgotten for that of the other one of a pair too often.
 */
const BLOCK = 64;
/** Outputs that are computed again together. */
const CHUNK = 128;
/** Above so many numbers of a lane, f16 weights come from two places, too: the text then no longer fits a processor's cache. */
const MOST_SINGLE_HALVES = 128;

/**
 * Outputs that a workgroup walks over together, from places apart: processors then fetch ahead from both, which for f32 is a quarter
 * faster. Unpacking f16 takes longer than waiting.
 */
function streamsOf({ inputs, half }: TexelGemvForm): 1 | 2 {
  return half && inputs / GEMV_LANES <= MOST_SINGLE_HALVES ? 1 : 2;
}

/**
 * Tells how many outputs a workgroup's share is a multiple of.
 *
 * @param form What is computed.
 * @returns A number of outputs.
 */
export function texelGemvUnit(form: TexelGemvForm): number {
  return GEMV_LANES * (form.paired ? 1 : streamsOf(form));
}

/**
 * Tells how much memory a workgroup needs for its sums.
 *
 * @param form What is computed.
 * @returns Bytes.
 */
export function texelGemvSumBytes(form: TexelGemvForm): number {
  const slots = form.paired ? 2 : streamsOf(form);
  return 4 * form.rows * slots * BLOCK * GEMV_LANES;
}

/**
 * A power of two by which rows are multiplied before, and their products after, they meet weights whose bits say 2^-112 times as much.
 */
const HALF_SCALE = 2 ** 56;

/** The load that is a lane's number v, in a row: a run of its own where all come from one place, else side by side with the others. */
function loadAt(form: TexelGemvForm, v: number): string {
  return streamsOf(form) === 1
    ? `lane * ${form.inputs / GEMV_LANES / 8}u + ${v}u`
    : `lane + ${v * GEMV_LANES}u`;
}

/** Loads the rows, of each lane its part of all of them. */
function rowLines(form: TexelGemvForm): string[] {
  const { rows, inputs, half, normed } = form;
  const unit = half ? 8 : 4;
  const lines: string[] = [];
  const packs = range(inputs / GEMV_LANES / unit).flatMap((v) =>
    range(unit / 4).map((part) => ({
      name: `${v}_${part}`,
      at: `(${loadAt(form, v)}) * ${unit / 4}u + ${part}u`,
    }))
  );
  for (const r of range(rows)) {
    if (normed) {
      lines.push(
        `var squares${r} = vec4f();`,
        ...packs.map(({ at }) => `{ let p = rowAt(${r}u, ${at}); squares${r} += p * p; }`),
      );
    } else lines.push(`let factor${r} = 1.0;`);
  }
  if (normed) {
    const each = range(rows).map((r) => `dot(squares${r}, vec4f(1.0))`);
    lines.push(
      `sums[own + lane] = ${vectorOfRows(rows)}(${each});`,
      "wait();",
      `let factors = 1.0 / sqrt(sumOf(own) / ${inputs}.0 + params.eps);`,
      "wait();",
      ...range(rows).map((r) =>
        `let factor${r} = factors${rows === 1 ? "" : `.${COMPONENTS[r]}`};`
      ),
    );
  }
  for (const { name, at } of packs) {
    const each = range(rows).map((r) => `r${r}_${name}`);
    for (const r of range(rows)) {
      lines.push(
        `let ${each[r]} = inputAt(${r}u, ${at}, factor${r})${half ? ` * ${HALF_SCALE}.0` : ""};`,
      );
    }
    for (const i of range(4)) {
      const numbers = each.map((pack) => `${pack}.${COMPONENTS[i]}`);
      lines.push(`let x${name}_${i} = ${vectorOfRows(rows)}(${numbers});`);
    }
  }
  return lines;
}

/** Multiplies the weights of `output` in a texture, or of two outputs or textures, and leaves `total0` and `total1`. */
function productLines(
  form: TexelGemvForm,
  streams: readonly { weight: string; output: string }[],
): string[] {
  const { rows, inputs, half } = form;
  const unit = half ? 8 : 4;
  const vector = vectorOfRows(rows);
  const lines = streams.flatMap(({ output }, s) => [
    // Two chains of additions: one alone would wait for each sum.
    `var even${s} = ${vector}(); var odd${s} = ${vector}();`,
    `let at${s} = min(${output}, params.outputs - 1u) * ${inputs / unit}u;`,
    ...half ? [`var bits${s} = vec4i();`] : [],
  ]);
  for (const v of range(inputs / GEMV_LANES / unit)) {
    for (const [s, { weight }] of streams.entries()) {
      const texel = `texelAt(${weight}, at${s} + ${loadAt(form, v)})`;
      const w = `w${s}_${v}`;
      lines.push(
        `let ${w} = ${half ? `bitcast<vec4i>(${texel})` : texel};`,
        ...half ? [`bits${s} |= ${w};`] : [],
        ...range(unit).map((i) => {
          const word = `${w}.${COMPONENTS[half ? i >> 1 : i]}`;
          const number = !half ? word : i % 2 === 0 ? `lowHalf(${word})` : `highHalf(${word})`;
          const sum = `${v % 2 === 0 ? "even" : "odd"}${s}`;
          return `${sum} += x${v}_${i >> 2}_${i & 3} * ${vector}(${number});`;
        }),
      );
    }
  }
  for (const s of range(streams.length)) {
    lines.push(`var total${s} = even${s} + odd${s};`);
    if (!half) continue;
    lines.push(
      `total${s} *= ${HALF_SCALE}.0;`,
      `bits |= (bits${s}.x | bits${s}.y) | (bits${s}.z | bits${s}.w);`,
    );
  }
  return lines;
}

/** The same without the trick by which f16 are unpacked. */
function exactLines(
  { rows, inputs }: TexelGemvForm,
  streams: readonly { weight: string; output: string }[],
): string[] {
  const vector = vectorOfRows(rows);
  const dots = (part: number, numbers: string): string =>
    `${vector}(${
      range(rows).map((r) =>
        `dot(inputAt(${r}u, 2u * (lane + v) + ${part}u, factor${r}), ${numbers})`
      )
    })`;
  return streams.flatMap(({ weight, output }, s) => [
    `var total${s} = ${vector}();`,
    `for (var v = 0u; v < ${inputs / 8}u; v += ${GEMV_LANES}u) {`,
    `let at = min(${output}, params.outputs - 1u) * ${inputs / 8}u + lane + v;`,
    `let w = bitcast<vec4u>(texelAt(${weight}, at));`,
    `total${s} += ${dots(0, "vec4f(unpack2x16float(w.x), unpack2x16float(w.y))")};`,
    `total${s} += ${dots(1, "vec4f(unpack2x16float(w.z), unpack2x16float(w.w))")};`,
    "}",
  ]);
}

/**
 * Builds the WGSL text. A workgroup walks over outputs with the rows in registers, as `gemvSource` has it. For a block of outputs
 * the lanes store their sums, then each of them adds up those of every eighth output and stores the results.
 *
 * An f16 is unpacked by moving its bits to where an f32 has its sign, its last exponent bits and its first fraction bits: an f32 that
 * is 2^-112 times as large, for subnormal ones, too. That is exact but for infinities and NaN; where an exponent's first bit says that
 * there may be some (numbers from 2 on), a chunk of outputs is computed once more, slowly.
 *
 * @param form What it computes.
 * @returns Text with the entry point `multiply`.
 */
export function texelGemvSource(form: TexelGemvForm): string {
  const { rows, inputs, half, paired, normed } = form;
  const vector = vectorOfRows(rows);
  const weights = paired ? ["weight", "pairWeight"] : ["weight"];
  const streams = streamsOf(form);
  const here = weights.map((weight) => ({ weight, output: "output" }));
  // Each pass is a loop over a block's outputs.
  const passes = paired
    ? streams === 2 ? [here] : here.map((stream) => [stream])
    : streams === 2
    ? [[here[0]!, { weight: "weight", output: "output + span" }]]
    : [here];
  const slots = passes.flat().length;
  const sumsOf = (linesOf: typeof productLines): string => {
    let slot = 0;
    return passes.map((pass) =>
      `for (var i = 0u; i < min(${BLOCK}u, end - block); i++) {
let output = block + i;
${linesOf(form, pass).join("\n")}
${
        pass.map((_, s) =>
          `sums[own + (${slot++}u * ${BLOCK}u + i) * ${GEMV_LANES}u + lane] = total${s};`
        ).join("\n")
      }
}`
    ).join("\n");
  };
  const sum = (slot: number): string =>
    `${{ 1: "vec4f(", 2: "vec4f(", 4: "(" }[rows]}sumOf(own + (${
      slot * BLOCK
    }u + part + lane) * ${GEMV_LANES}u)${
      { 1: ", 0.0, 0.0, 0.0)", 2: ", 0.0, 0.0)", 4: ")" }[rows]
    }`;
  const stores = paired
    ? [`if (output < end) { store(output, ${sum(0)}, ${sum(1)}); }`]
    : range(streams).map((s) => {
      const output = s === 0 ? "output" : "output + span";
      const held = s === 0 ? "output < end" : `output < end && ${output} < params.outputs`;
      return `if (${held}) { store(${output}, ${sum(s)}, vec4f()); }`;
    });
  const blocks = (end: string, linesOf: typeof productLines): string =>
    `for (var block = chunk; block < ${end}; block += ${BLOCK}u) {
${sumsOf(linesOf)}
wait();
for (var part = 0u; part < min(${BLOCK}u, end - block); part += ${GEMV_LANES}u) {
let output = block + part + lane;
${stores.join("\n")}
}
wait();
}`;
  const again = `sums[own + lane] = ${vector}(f32((bits >> 14u) & 0x10001));
wait();
let suspects = sumOf(own)${rows === 1 ? "" : ".x"};
wait();
${blocks("select(chunk, last, suspects > 0.0)", exactLines)}`;
  const share = `params.outputs_each${paired || streams === 1 ? "" : " / 2u"}`;
  const norm = normed
    ? `
@group(0) @binding(9) var<storage, read> normWeight: array<vec4f>; // (packs)
@group(0) @binding(10) var<storage, read> scale: array<vec4f>; // (all rows, packs)
@group(0) @binding(11) var<storage, read> shift: array<vec4f>; // (all rows, packs)

fn inputAt(row: u32, pack: u32, factor: f32) -> vec4f {
  let at = min(params.first_row + row, params.last_row) * ${inputs / 4}u + pack;
  return x[at] * factor * normWeight[pack] * (1.0 + scale[at]) + shift[at];
}`
    : `
fn inputAt(row: u32, pack: u32, factor: f32) -> vec4f { return rowAt(row, pack); }`;
  return `${texelsSource}
struct Params {
  first_row: u32, last_row: u32, first_output: u32, outputs: u32, all_outputs: u32, outputs_each: u32, eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var weight: Texels; // (outputs, inputs)
${paired ? "@group(0) @binding(2) var pairWeight: Texels; // (outputs, inputs)" : ""}
@group(0) @binding(3) var<storage, read> x: array<vec4f>; // (all rows, packs)
@group(0) @binding(8) var<storage, read_write> sums: array<${vector}>; // (workgroups, slots, outputs of a block, lanes)

// Whether the lanes of a workgroup run in step, so that none waits for what another one has stored.
override IN_STEP: u32 = 0;

fn wait() { if (IN_STEP == 0u) { storageBarrier(); } }

// Sum over all lanes, always in the same order.
fn sumOf(first: u32) -> ${vector} {
  return ${
    [[0, 4], [2, 6], [1, 5], [3, 7]].map(([a, b]) => `(sums[first + ${a}u] + sums[first + ${b}u])`)
      .reduce((a, b) => `${a} + ${b}`)
  };
}

fn rowAt(row: u32, pack: u32) -> vec4f {
  return x[min(params.first_row + row, params.last_row) * ${inputs / 4}u + pack];
}
${norm}
${
    half
      ? `
fn lowHalf(word: i32) -> f32 { return highHalf(word << 16u); }

fn highHalf(word: i32) -> f32 { return bitcast<f32>((word >> 3u) & ${0x8fffe000 | 0}); }`
      : ""
  }

@compute @workgroup_size(${GEMV_LANES})
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
let own = group.x * ${slots * BLOCK * GEMV_LANES}u;
${rowLines(form).join("\n")}
let span = ${share};
let begin = group.x * params.outputs_each;
let end = min(begin + span, params.outputs);
for (var chunk = begin; chunk < end; chunk += ${CHUNK}u) {
let last = min(chunk + ${CHUNK}u, end);
${half ? "var bits = 0;" : ""}
${blocks("last", productLines)}
${half ? again : ""}
}
}
`;
}

const kernels = new Map<string, Kernel>();

/**
 * Makes the kernel of a form, once.
 *
 * @param form What it computes.
 * @returns The kernel.
 */
export function texelGemvKernel(form: TexelGemvForm): Kernel {
  const { rows, inputs, half, paired, normed } = form;
  const name = `gemv_texels_${rows}x${inputs}${half ? "_f16" : ""}${paired ? "_pair" : ""}${
    normed ? "_norm" : ""
  }`;
  let kernel = kernels.get(name);
  if (!kernel) {
    kernel = defineKernel(name, common, special, storeSource, texelGemvSource(form));
    kernels.set(name, kernel);
  }
  return kernel;
}

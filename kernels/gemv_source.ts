/** The generator of products of few rows for software adapters: unrolled text with the rows in registers. @module */

import { defineKernel, type Kernel } from "./kernel.ts";
import { COMPONENTS, range } from "./matmul_form.ts";

/** Lanes that a software adapter runs in step. */
export const GEMV_LANES = 8;

/** What one such kernel computes. */
export interface GemvForm {
  /** Rows. */
  rows: 1 | 2 | 4;
  /** Inputs that a lane keeps of all rows. */
  length: number;
  /** Whether the weights are f16. They are read as words of two, so `length` is a multiple of 8, else of 4. */
  half: boolean;
  /** How the weights are bound, if not as one storage buffer: in windows of so many outputs, each a uniform buffer. */
  windows?: GemvWindows | undefined;
}

/** Uniform bindings of one dispatch, `weight0` and so on. */
export interface GemvWindows {
  /** Their number. */
  count: number;
  /** Outputs of each. */
  outputs: number;
  /** Length of a row of weights. */
  inputs: number;
}

/**
 * Gives the type that has a number for each row.
 *
 * @param rows Rows.
 * @returns The type, as WGSL.
 */
export function vectorOfRows(rows: 1 | 2 | 4): string {
  return { 1: "f32", 2: "vec2f", 4: "vec4f" }[rows];
}

/**
 * Builds the WGSL text. Its lanes lie side by side along the inputs, neighbors at neighboring loads, and walk over the outputs together: x
 * then is loaded once for many outputs, and what is loaded in the loop is weights alone. Each lane leaves its own sum, as adapters of this
 * kind have no cheap way to add lanes up. A row's sums do not depend on how many rows there are.
 *
 * @param form What it computes.
 * @returns Text with the entry point `multiply`.
 */
export function gemvSource(form: GemvForm): string {
  const { rows, length, half, windows } = form;
  // Numbers of one load, and loads of a lane.
  const unit = half ? 8 : 4;
  const loads = length / unit;
  const vector = vectorOfRows(rows);
  const lines: string[] = [];
  for (const v of range(loads)) {
    for (const part of range(unit / 4)) {
      const each = range(rows).map((r) => `r${r}_${v}_${part}`);
      for (const r of range(rows)) {
        lines.push(
          `let ${
            each[r]
          } = x[min(params.first_row + ${r}u, params.last_row) * params.inputs / 4u + (first + ${
            v * GEMV_LANES
          }u) * ${unit / 4}u + ${part}u];`,
        );
      }
      for (const i of range(4)) {
        const numbers = each.map((name) => `${name}.${COMPONENTS[i]}`);
        lines.push(`let x${v}_${part * 4 + i} = ${vector}(${numbers});`);
      }
    }
  }
  const products = (weight: string): string[] => [
    // Two chains of additions: one alone would wait for each sum.
    `var even = ${vector}(); var odd = ${vector}();`,
    ...range(loads).flatMap((v) => [
      `let w${v} = ${weight}[at + ${v * GEMV_LANES}u];`,
      ...half
        ? range(4).map((i) => `let h${v}_${i} = unpack2x16float(w${v}.${COMPONENTS[i]});`)
        : [],
      ...range(unit).map((i) => {
        const sum = v % 2 === 0 ? "even" : "odd";
        const number = half ? `h${v}_${i >> 1}.${COMPONENTS[i & 1]}` : `w${v}.${COMPONENTS[i]}`;
        return `${sum} = fma(x${v}_${i}, ${vector}(${number}), ${sum});`;
      }),
    ]),
    `sums[(output * params.slices + group.y) * ${GEMV_LANES}u + lane] = even + odd;`,
  ];
  if (windows) {
    const units = windows.inputs / unit;
    for (const w of range(windows.count)) {
      lines.push(
        `{ let begin = (params.first_window + ${w}u) * ${windows.outputs}u;`,
        // The last window lies within the weights, however few outputs are left for it.
        `let bound = min(begin, params.outputs - ${windows.outputs}u);`,
        `let end = min(begin + ${windows.outputs}u, params.outputs);`,
        "for (var output = begin; output < end; output++) {",
        `let at = (output - bound) * ${units}u + first;`,
        ...products(`weight${w}`),
        "} }",
      );
    }
  } else {
    lines.push(
      "let begin = group.x * params.outputs_each;",
      "let end = min(begin + params.outputs_each, params.outputs);",
      "for (var output = begin; output < end; output++) {",
      `let at = output * params.inputs / ${unit}u + first;`,
      ...products("weight"),
      "}",
    );
  }
  const four = half ? "vec4u" : "vec4f";
  const bindings = windows
    ? range(windows.count).map((w) =>
      `@group(0) @binding(${4 + w}) var<uniform> weight${w}: array<${four}, ${
        windows.outputs * windows.inputs / unit
      }>;`
    )
    : [`@group(0) @binding(1) var<storage, read> weight: array<${four}>; // (outputs, inputs)`];
  return `struct Params {
  first_row: u32, last_row: u32, inputs: u32, first_window: u32, outputs: u32, slices: u32, outputs_each: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4f>; // (all rows, inputs)
@group(0) @binding(3) var<storage, read_write> sums: array<${vector}>; // (outputs, slices, lanes): a number a row
${bindings.join("\n")}

@compute @workgroup_size(${GEMV_LANES})
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
let first = group.y * ${GEMV_LANES * loads}u + lane;
${lines.join("\n")}
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
export function gemvKernel(form: GemvForm): Kernel {
  const { rows, length, half, windows } = form;
  const name = `gemv_${rows}x${length}${half ? "_f16" : ""}${
    windows ? `_${windows.count}x${windows.outputs}x${windows.inputs}` : ""
  }`;
  let kernel = kernels.get(name);
  if (!kernel) kernels.set(name, kernel = defineKernel(name, gemvSource(form)));
  return kernel;
}

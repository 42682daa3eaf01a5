/** The generator of products of few rows for software adapters: unrolled text with the rows in registers. @module */

import { defineKernel, type Kernel } from "./kernel.ts";
import { COMPONENTS, range } from "./matmul_form.ts";

/** Lanes that a software adapter runs in step. */
export const GEMV_LANES = 8;

/** What one such kernel computes. */
export interface GemvForm {
  /** Rows. */
  rows: 1 | 2 | 4;
  /** Consecutive inputs of a lane, which it keeps of all rows. */
  length: number;
  /** Whether the weights are f16. They are read as words of two, so `length` is a multiple of 8, else of 4. */
  half: boolean;
  /** Whether the weights are in a texture, which their row and column address. */
  texels: boolean;
}

const vectors = { 1: "f32", 2: "vec2f", 4: "vec4f" } as const;

/**
 * Builds the WGSL text. Its lanes lie side by side along the inputs and walk over the outputs together: x then is loaded once for many
 * outputs, and what is loaded in the loop is weights alone. Each lane leaves its own sum, as adapters of this kind have no cheap way to
 * add lanes up. A row's sums do not depend on how many rows there are.
 *
 * @param form What it computes.
 * @returns Text with the entry point `multiply`.
 */
export function gemvSource(form: GemvForm): string {
  const { rows, length, half, texels } = form;
  // Numbers of one load.
  const unit = half ? 8 : 4;
  const lines: string[] = [];
  for (const r of range(rows)) {
    for (const v of range(length / 4)) {
      lines.push(
        `let x${r}_${v} = x[(min(params.first_row + ${r}u, params.last_row) * params.inputs + first) / 4u + ${v}u];`,
      );
    }
  }
  lines.push(
    "for (var output = begin; output < end; output++) {",
    `let at = (${texels ? "" : "output * params.inputs + "}first) / ${unit}u;`,
    ...range(rows).map((i) => `var c${i} = 0.0;`),
  );
  for (const v of range(length / unit)) {
    lines.push(
      `let w${v} = ${
        texels
          ? `textureLoad(weight, vec2u(at + ${v}u, params.first_output + output), 0)`
          : `weight[at + ${v}u]`
      };`,
    );
    for (const i of range(unit)) {
      const number32 = `w${v}.${COMPONENTS[half ? i >> 1 : i]}`;
      if (half && i % 2 === 0) lines.push(`let h${v}_${i} = unpack2x16float(${number32});`);
      const number = half ? `h${v}_${i & 6}.${COMPONENTS[i & 1]}` : number32;
      const column = v * unit + i;
      for (const r of range(rows)) {
        lines.push(
          `c${r} = fma(x${r}_${column >> 2}.${COMPONENTS[column & 3]}, ${number}, c${r});`,
        );
      }
    }
  }
  const [word, vector] = half ? ["u32", "vec4u"] : ["f32", "vec4f"];
  const slot = `(output * params.slices + group.y) * ${GEMV_LANES}u + lane`;
  lines.push(`sums[${slot}] = ${vectors[rows]}(${range(rows).map((r) => `c${r}`)});`, "}");
  return `struct Params { first_row: u32, last_row: u32, inputs: u32, first_output: u32, outputs: u32, slices: u32, outputs_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var${
    texels ? ` weight: texture_2d<${word}>` : `<storage, read> weight: array<${vector}>`
  }; // (outputs, inputs)
@group(0) @binding(2) var<storage, read> x: array<vec4f>; // (all rows, inputs)
@group(0) @binding(3) var<storage, read_write> sums: array<${
    vectors[rows]
  }>; // (outputs, slices, lanes): a number a row

@compute @workgroup_size(${GEMV_LANES})
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
let first = (group.y * ${GEMV_LANES}u + lane) * ${length}u;
let begin = group.x * params.outputs_each;
let end = min(begin + params.outputs_each, params.outputs);
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
  const name = `gemv_${form.rows}x${form.length}${form.half ? "_f16" : ""}${
    form.texels ? "_texels" : ""
  }`;
  let kernel = kernels.get(name);
  if (!kernel) kernels.set(name, kernel = defineKernel(name, gemvSource(form)));
  return kernel;
}

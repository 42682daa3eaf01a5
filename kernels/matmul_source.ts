/** The generator of tiled matrix products: WGSL text from a tile, the layout of the operands and the way they are addressed. @module */

import { defineKernel, type Kernel } from "./kernel.ts";
import {
  type Addressing,
  columnOf,
  COMPONENTS,
  type ProductForm,
  range,
  vectorAccumulators,
} from "./matmul_form.ts";
import { dotMemory, registerBody } from "./matmul_register.ts";
import { stagedBody, stagedMemory } from "./matmul_staged.ts";
import { type Tile, tileColumns, tileRows } from "./matmul_tile.ts";
import texels from "./texels.wgsl" with { type: "text" };

/**
 * Builds the WGSL text of a product.
 *
 * @param tile What a lane owns.
 * @param form Layout of the operands.
 * @param addressing How rows, columns and sums become addresses.
 * @returns Text with one entry point, named as the addressing.
 */
export function productSource(tile: Tile, form: ProductForm, addressing: Addressing): string {
  const { lanesX, lanesY, rows, columns, family } = tile;
  const array = (vector: boolean, half: boolean): string =>
    `array<${vector ? (half ? "vec4h" : "vec4f") : (half ? "f16" : "f32")}>`;
  const staged = family === "workgroup";
  const memory = staged
    ? stagedMemory(tile)
    : family === "dot" && !tile.subgroupSum
    ? dotMemory(tile)
    : "";
  const product = array(form.cVector, form.cHalf);
  const operand = (name: "a" | "b"): string =>
    form[`${name}Texels`]
      ? ` ${name}: Texels`
      : `<storage, read> ${name}: ${array(form[`${name}Vector`], form[`${name}Half`])}`;
  return `${
    form.aHalf || form.bHalf || form.cHalf ? "enable f16;\n" : ""
  }struct Params { alpha: f32, residualShift: u32, ${addressing.params} }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var${operand("a")};
@group(0) @binding(2) var${operand("b")};
@group(0) @binding(3) var<storage, read_write> c: ${product};
${form.bias ? "@group(0) @binding(4) var<storage, read> bias: array<f32>;\n" : ""}${
    form.residual ? `@group(0) @binding(5) var<storage, read> residual: ${product};\n` : ""
  }${form.aTexels || form.bTexels ? texels : ""}${memory}
@compute @workgroup_size(${lanesX * lanesY})
fn ${addressing.name}(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
${addressing.prologue}
let firstRow = group.y * ${tileRows(tile)}u;
let firstColumn = group.x * ${tileColumns(tile)}u;
let laneX = lane % ${lanesX}u;
let row = firstRow${family === "dot" ? "" : ` + lane / ${lanesX}u * ${rows}u`};
${range(columns).map((j) => `let column${j} = ${columnOf(tile, form, j)};`).join("\n")}
${(staged ? stagedBody : registerBody)(tile, form, addressing)}
${family === "dot" ? "if (laneX > 0u) { return; }\n" : ""}${storeSource(tile, form, addressing)}
}
`;
}

function storeSource(tile: Tile, form: ProductForm, addressing: Addressing): string {
  const { rows, columns } = tile;
  const { cVector, cHalf, bias } = form;
  const vector = vectorAccumulators(tile);
  const lines: string[] = [addressing.storeRows("row", rows)];
  if (bias) {
    for (const j of range(columns)) {
      lines.push(
        `let bias${j} = bias[min(params.biasOffset + column${j}, params.biasOffset + n - 1u)];`,
      );
    }
  }
  const scalar = (i: number, j: number): string =>
    vector ? `c${i}_${j >> 2}.${COMPONENTS[j & 3]}` : `c${i}_${j}`;
  const float = cVector ? "vec4f" : "f32";
  const stored = cVector ? "vec4h" : "f16";
  for (const i of range(rows)) {
    lines.push(`if (in${i}) {`);
    for (const j of range(cVector ? columns / 4 : columns).map((g) => cVector ? 4 * g : g)) {
      const parts = range(cVector ? 4 : 1).map((l) => j + l);
      const joined = (each: (j: number) => string): string =>
        cVector ? `vec4f(${parts.map(each)})` : each(j);
      const index = (element: string): string => cVector ? `(${element}) / 4u` : element;
      const at = index(`d${i} + column${j}`);
      const terms = [
        `params.alpha * ${cVector && vector ? `c${i}_${j >> 2}` : joined((j) => scalar(i, j))}`,
        bias && joined((j) => `bias${j}`),
        form.residual &&
        `${float}(residual[${index(`d${i} + column${j} + params.residualShift`)}])`,
        form.accumulate && `${float}(c[${at}])`,
      ];
      const sum = terms.filter(Boolean).join(" + ");
      lines.push(`if (column${j} < n) { c[${at}] = ${cHalf ? `${stored}(${sum})` : sum}; }`);
    }
    lines.push("}");
  }
  return lines.join("\n");
}

const kernels = new Map<string, Kernel>();

/**
 * Makes the kernel of a product, once.
 *
 * @param tile What a lane owns.
 * @param form Layout of the operands.
 * @param addressing How rows, columns and sums become addresses.
 * @returns The kernel; its entry point has the addressing's name.
 */
export function productKernel(tile: Tile, form: ProductForm, addressing: Addressing): Kernel {
  const key = JSON.stringify([addressing.name, tile, form]);
  let kernel = kernels.get(key);
  if (!kernel) {
    const source = productSource(tile, form, addressing);
    kernels.set(key, kernel = defineKernel(addressing.name, source));
  }
  return kernel;
}

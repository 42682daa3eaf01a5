/** How a product of strided matrices addresses its operands. @module */

import { type Addressing, clampedRow, type ProductForm, range } from "./matmul_form.ts";

/**
 * Addresses strided matrices, a matrix of the batch for each z of the grid.
 *
 * @param form Layout of the operands.
 * @returns The addressing.
 */
export function matmulAddressing(form: ProductForm): Addressing {
  return {
    name: "matmul",
    params: `m: u32, n: u32, depth: u32, innerBatch: u32,
  aOffset: u32, aOuter: u32, aInner: u32, aStep: u32,
  bOffset: u32, bOuter: u32, bInner: u32, bStep: u32,
  cOffset: u32, cOuter: u32, cInner: u32, cStep: u32, biasOffset: u32`,
    prologue: `let m = params.m;
let n = params.n;
let count = params.depth;
let aStep = params.aStep;
let bStep = params.bStep;
let outer = group.z / params.innerBatch;
let inner = group.z % params.innerBatch;
let aBase = params.aOffset + outer * params.aOuter + inner * params.aInner;
let bBase = params.bOffset + outer * params.bOuter + inner * params.bInner;
let cBase = params.cOffset + outer * params.cOuter + inner * params.cInner;`,
    prepareRows: (start, offsets, first) =>
      offsets.map((offset) => {
        const row = clampedRow(form, `${start} + ${offset}u`);
        return `let p${first + offset} = aBase + ${
          form.aAlong === "inner" ? `${row} * params.aStep` : row
        };`;
      }).join("\n"),
    open: () => "",
    close: "",
    storeRows: (start, count) =>
      range(count).map((i) =>
        `let in${i} = ${start} + ${i}u < m; let d${i} = cBase + (${start} + ${i}u) * params.cStep;`
      ).join("\n"),
  };
}

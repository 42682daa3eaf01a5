/** The part of the generator that keeps a product in registers, without workgroup memory or barriers. @module */

import {
  addressedRows,
  type Addressing,
  COMPONENTS,
  declareAccumulators,
  type ProductForm,
  range,
  vectorAccumulators,
} from "./matmul_form.ts";
import type { Tile } from "./matmul_tile.ts";

/**
 * Builds the statements that compute a lane's part of a product.
 *
 * @param tile What a lane owns.
 * @param form Layout of the operands.
 * @param addressing How rows, columns and sums become addresses.
 * @returns Statements that leave the sums in the accumulators.
 */
export function registerBody(
  tile: Tile,
  form: ProductForm,
  addressing: Addressing,
): string {
  const { rows, columns } = tile;
  const { aAlong, bAlong, aVector, bVector } = form;
  const aInner = aAlong === "inner";
  const bInner = bAlong === "inner";
  const aUnit = aVector ? 4 : 1;
  const bUnit = bVector ? 4 : 1;
  const step = (aInner && aVector) || (bInner && bVector) ? 4 : 1;
  const aLoads = aInner || !aVector ? rows : rows / 4;
  const bLoads = bInner || !bVector ? columns : columns / 4;
  const lines: string[] = [declareAccumulators(tile, form)];
  const offsets = addressedRows(form, rows);
  lines.push(addressing.prepareRows("row", offsets, 0));
  for (const j of range(bLoads)) {
    const column = `min(column${j * (bInner ? 1 : bUnit)}, n - ${bInner ? 1 : bUnit}u)`;
    lines.push(`let q${j} = ${bInner ? `${column} * bStep` : column} / ${bUnit}u;`);
  }
  lines.push(addressing.open(offsets));
  for (const [i, row] of offsets.entries()) {
    // Signed, because the address of inner step 0 may lie before the binding.
    lines.push(`let s${i} = ${aVector ? `u32(i32(p${row}) >> 2u)` : `p${row}`};`);
  }
  lines.push(`for (var k = 0u; k < count; k += ${step}u) {`);
  const a = (i: number, kk: number): string =>
    aInner
      ? (aVector ? `a${i}.${COMPONENTS[kk]}` : `a${i}_${kk}`)
      : (aVector ? `a${i >> 2}_${kk}.${COMPONENTS[i & 3]}` : `a${i}_${kk}`);
  const b = (j: number, kk: number): string =>
    bInner && bVector ? `b${j}.${COMPONENTS[kk]}` : `b${j}_${kk}`;
  const mask = (i: number, kk: number, value: string): string => {
    const ok = addressing.mask?.(offsets[i]!, `(k + ${kk}u)`);
    return ok ? `select(${aVector ? "vec4f()" : "0f"}, ${value}, ${ok})` : value;
  };
  if (aInner && aVector) {
    lines.push("let ka = k / 4u;");
    for (const i of range(rows)) lines.push(`let a${i} = ${mask(i, 0, `a[s${i} + ka]`)};`);
  }
  if (bInner && bVector) {
    lines.push("let kb = (bBase + k) / 4u;");
    for (const j of range(columns)) lines.push(`let b${j} = b[q${j} + kb];`);
  }
  const vector = vectorAccumulators(tile, form);
  for (const kk of range(step)) {
    if (!(aInner && aVector)) {
      if (!aInner) lines.push(`let ka${kk} = (k + ${kk}u) * aStep / ${aUnit}u;`);
      for (const i of range(aLoads)) {
        lines.push(
          `let a${i}_${kk} = ${
            mask(i, kk, aInner ? `a[s${i} + k + ${kk}u]` : `a[s${i} + ka${kk}]`)
          };`,
        );
      }
    }
    if (!(bInner && bVector)) {
      lines.push(
        bInner
          ? `let kb${kk} = bBase + k + ${kk}u;`
          : `let kb${kk} = (bBase + (k + ${kk}u) * bStep) / ${bUnit}u;`,
      );
      for (const j of range(bLoads)) lines.push(`let b${j}_${kk} = b[q${j} + kb${kk}];`);
    }
  }
  // All steps of one accumulator together: it then stays in a register meanwhile (a fifth faster than step by step).
  for (const i of range(rows)) {
    for (const j of range(vector ? columns / 4 : columns)) {
      for (const kk of range(step)) {
        const factor = vector ? `vec4f(${a(i, kk)})` : a(i, kk);
        lines.push(`c${i}_${j} = fma(${factor}, ${b(j, kk)}, c${i}_${j});`);
      }
    }
  }
  lines.push("}", addressing.close);
  return lines.join("\n");
}

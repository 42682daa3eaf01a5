/** The part of the generator that stages both operands of a product in workgroup memory, for GPUs. @module */

import {
  type Addressing,
  COMPONENTS,
  declareAccumulators,
  type ProductForm,
  range,
} from "./matmul_form.ts";
import { type Tile, tileColumns, tileRows } from "./matmul_tile.ts";

/** Length along the inner axis that is staged at a time. */
const DEPTH = 16;

/**
 * Declares the workgroup memory of a staged product: for each step along the inner axis, all rows and all columns by fours.
 *
 * @param tile What a workgroup owns.
 * @returns Module-scope WGSL.
 */
export function stagedMemory(tile: Tile): string {
  return `var<workgroup> aStaged: array<vec4f, ${DEPTH * tileRows(tile) / 4}>;
var<workgroup> bStaged: array<vec4f, ${DEPTH * tileColumns(tile) / 4}>;
`;
}

/**
 * Builds the statements that compute a lane's part of a product from staged blocks. A lane stages patches of four rows (or columns) by
 * four inner steps, so that loads are vectors along either axis and stores to workgroup memory always are.
 *
 * @param tile What a lane owns.
 * @param form Layout of the operands.
 * @param addressing How rows, columns and sums become addresses.
 * @returns Statements that leave the sums in the accumulators.
 */
export function stagedBody(tile: Tile, form: ProductForm, addressing: Addressing): string {
  const { lanesX, lanesY, rows, columns } = tile;
  const threads = lanesX * lanesY;
  const aGroups = tileRows(tile) / 4;
  const bGroups = tileColumns(tile) / 4;
  const aPatches = patchesOf("a", aGroups, threads, form.aAlong === "inner");
  const bPatches = patchesOf("b", bGroups, threads, form.bAlong === "inner");
  const aInner = form.aAlong === "inner";
  const bInner = form.bAlong === "inner";
  const lines = [declareAccumulators(tile, form)];
  for (const patch of aPatches) {
    lines.push(patch.declaration);
    if (aInner) {
      lines.push(
        addressing.prepareRows(`firstRow + 4u * ${patch.group}`, 4, 4 * patch.number),
      );
    } else {
      lines.push(
        ...neighbors(`firstRow + 4u * ${patch.group}`, "r", 4 * patch.number, "m", form.aVector),
      );
    }
  }
  for (const patch of bPatches) {
    lines.push(patch.declaration);
    const start = `firstColumn + 4u * ${patch.group}`;
    const first = 4 * patch.number;
    if (bInner) {
      for (const l of range(4)) {
        lines.push(`let q${first + l} = min(${start} + ${l}u, n - 1u) * bStep;`);
      }
    } else lines.push(...neighbors(start, "q", first, "n", form.bVector));
  }
  lines.push(addressing.open(4 * aPatches.length));
  lines.push(`for (var k0 = 0u; k0 < count; k0 += ${DEPTH}u) {`);
  for (const patch of aPatches) {
    lines.push(
      `${patch.guard}{ let k = k0 + 4u * ${patch.step};`,
      ...(aInner
        ? alongInner("a", form.aVector, patch, (l) => `p${l}`, addressing.masked)
        : alongOther("a", form.aVector, patch, "r", "aBase", "aStep")),
      `let at = 4u * ${patch.step} * ${aGroups}u + ${patch.group};`,
      ...range(4).map((kk) => `aStaged[at + ${kk * aGroups}u] = v${kk};`),
      "}",
    );
  }
  for (const patch of bPatches) {
    lines.push(
      `${patch.guard}{ let k = k0 + 4u * ${patch.step};`,
      ...(bInner
        ? alongInner("b", form.bVector, patch, (l) => `(q${l} + bBase)`, false)
        : alongOther("b", form.bVector, patch, "q", "bBase", "bStep")),
      `let at = 4u * ${patch.step} * ${bGroups}u + ${patch.group};`,
      ...range(4).map((kk) => `bStaged[at + ${kk * bGroups}u] = v${kk};`),
      "}",
    );
  }
  lines.push("workgroupBarrier();", `for (var kk = 0u; kk < ${DEPTH}u; kk++) {`);
  for (const g of range(rows / 4)) {
    lines.push(`let a${g} = aStaged[kk * ${aGroups}u + lane / ${lanesX}u * ${rows / 4}u + ${g}u];`);
  }
  for (const g of range(columns / 4)) {
    lines.push(`let b${g} = bStaged[kk * ${bGroups}u + ${g * lanesX}u + laneX];`);
  }
  for (const i of range(rows)) {
    for (const g of range(columns / 4)) {
      lines.push(`c${i}_${g} = fma(vec4f(a${i >> 2}.${COMPONENTS[i & 3]}), b${g}, c${i}_${g});`);
    }
  }
  lines.push("}", "workgroupBarrier();", "}", addressing.close);
  return lines.join("\n");
}

/** Four rows or columns by four inner steps that one lane stages. */
interface Patch {
  number: number;
  declaration: string;
  /** Which four rows or columns. */
  group: string;
  /** Which four inner steps of the staged depth. */
  step: string;
  /** Condition where not every lane has this patch. */
  guard: string;
}

/** Neighboring lanes take neighbors in memory, so that their loads fall together. */
function patchesOf(operand: string, groups: number, threads: number, inner: boolean): Patch[] {
  const patches = groups * DEPTH / 4;
  return range(Math.ceil(patches / threads)).map((number) => {
    const index = `(lane + ${number * threads}u)`;
    const group = `${operand}Group${number}`;
    const step = `${operand}Step${number}`;
    const declaration = inner
      ? `let ${step} = ${index} % ${DEPTH / 4}u; let ${group} = ${index} / ${DEPTH / 4}u;`
      : `let ${group} = ${index} % ${groups}u; let ${step} = ${index} / ${groups}u;`;
    const guard = (number + 1) * threads > patches
      ? `if (lane + ${number * threads}u < ${patches}u) `
      : "";
    return { number, declaration, group, step, guard };
  });
}

/** Clamped positions of four neighbors: one vector, or four scalars. */
function neighbors(
  start: string,
  name: string,
  first: number,
  extent: string,
  vector: boolean,
): string[] {
  return vector
    ? [`let ${name}${first} = min(${start}, ${extent} - 4u);`]
    : range(4).map((l) => `let ${name}${first + l} = min(${start} + ${l}u, ${extent} - 1u);`);
}

/** Loads four rows along the inner axis and transposes them. */
function alongInner(
  array: string,
  vector: boolean,
  patch: Patch,
  address: (row: number) => string,
  masked: boolean,
): string[] {
  const first = 4 * patch.number;
  const lines: string[] = [];
  for (const l of range(4)) {
    const ok = masked ? ` && ok${first + l}` : "";
    const at = address(first + l);
    lines.push(
      vector
        ? `let u${l} = select(vec4f(), ${array}[(${at} + min(k, count - 4u)) / 4u], k < count${ok});`
        : `let u${l} = vec4f(${
          range(4).map((kk) =>
            `select(0f, ${array}[${at} + min(k + ${kk}u, count - 1u)], k + ${kk}u < count${ok})`
          ).join(", ")
        });`,
    );
  }
  for (const [kk, component] of COMPONENTS.entries()) {
    lines.push(
      `let v${kk} = vec4f(u0.${component}, u1.${component}, u2.${component}, u3.${component});`,
    );
  }
  return lines;
}

/** Loads four inner steps, each with four neighbors along the other axis. */
function alongOther(
  array: string,
  vector: boolean,
  patch: Patch,
  name: string,
  base: string,
  step: string,
): string[] {
  const first = 4 * patch.number;
  return range(4).flatMap((kk) => [
    `let base${kk} = ${base} + min(k + ${kk}u, count - 1u) * ${step};`,
    `let v${kk} = select(vec4f(), ${
      vector
        ? `${array}[(base${kk} + ${name}${first}) / 4u]`
        : `vec4f(${range(4).map((l) => `${array}[base${kk} + ${name}${first + l}]`).join(", ")})`
    }, k + ${kk}u < count);`,
  ]);
}

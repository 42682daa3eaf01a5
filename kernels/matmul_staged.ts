/** The part of the generator that stages both operands of a product in workgroup memory, for GPUs. @module */

import {
  addressedRows,
  type Addressing,
  COMPONENTS,
  declareAccumulators,
  loaded,
  type ProductForm,
  range,
} from "./matmul_form.ts";
import { type Tile, tileColumns, tileRows } from "./matmul_tile.ts";

/** Length along the inner axis that is staged at a time. */
const DEPTH = 16;
/** Staged steps that an iteration multiplies. */
const STEPS = 4;

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
  const lines = [declareAccumulators(tile)];
  const offsets = addressedRows(form, 4);
  for (const patch of aPatches) {
    lines.push(
      patch.declaration,
      addressing.prepareRows(`firstRow + 4u * ${patch.group}`, offsets, 4 * patch.number),
    );
  }
  for (const patch of bPatches) {
    lines.push(patch.declaration);
    for (const l of bInner || !form.bVector ? range(4) : [0]) {
      const last = !bInner && form.bVector ? 4 : 1;
      const column = `min(firstColumn + 4u * ${patch.group} + ${l}u, n - ${last}u)`;
      lines.push(`let q${4 * patch.number + l} = ${bInner ? `${column} * bStep` : column};`);
    }
  }
  lines.push(
    addressing.open(aPatches.flatMap(({ number }) => offsets.map((offset) => 4 * number + offset))),
  );
  lines.push(`for (var k0 = 0u; k0 < count; k0 += ${DEPTH}u) {`);
  for (const patch of aPatches) {
    lines.push(...stagePatch(patch, {
      array: "a",
      load: (index) => loaded(form, "a", index),
      inner: aInner,
      vector: form.aVector,
      step: "aStep",
      address: (row) => `p${row}`,
      mask: addressing.mask,
    }, aGroups));
  }
  for (const patch of bPatches) {
    lines.push(...stagePatch(patch, {
      array: "b",
      load: (index) => loaded(form, "b", index),
      inner: bInner,
      vector: form.bVector,
      step: "bStep",
      address: (column) => `(bBase + q${column})`,
      mask: undefined,
    }, bGroups));
  }
  lines.push(
    "workgroupBarrier();",
    `let aLane = lane / ${lanesX}u * ${rows / 4}u;`,
    `for (var kk = 0u; kk < ${DEPTH}u; kk += ${STEPS}u) {`,
  );
  for (const s of range(STEPS)) {
    for (const g of range(rows / 4)) {
      lines.push(`let a${g}_${s} = aStaged[(kk + ${s}u) * ${aGroups}u + aLane + ${g}u];`);
    }
    for (const g of range(columns / 4)) {
      lines.push(`let b${g}_${s} = bStaged[(kk + ${s}u) * ${bGroups}u + ${g * lanesX}u + laneX];`);
    }
    for (const i of range(rows)) {
      const a = `vec4f(a${i >> 2}_${s}.${COMPONENTS[i & 3]})`;
      for (const g of range(columns / 4)) {
        lines.push(`c${i}_${g} = fma(${a}, b${g}_${s}, c${i}_${g});`);
      }
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

/** How an operand is staged. */
interface Staging {
  array: "a" | "b";
  /** Loads what has this index in the binding, as f32. */
  load: (index: string) => string;
  /** Whether the inner axis is the one along which elements are neighbors. */
  inner: boolean;
  vector: boolean;
  /** Elements between inner steps, where the inner axis is strided. */
  step: string;
  /** Address of a row or column at inner step 0. */
  address: (row: number) => string;
  mask: Addressing["mask"] | undefined;
}

function stagePatch(patch: Patch, staging: Staging, groups: number): string[] {
  const target = staging.array === "a" ? "aStaged" : "bStaged";
  return [
    `${patch.guard}{ let k = k0 + 4u * ${patch.step};`,
    ...(staging.inner ? loadTransposed : loadStraight)(staging, 4 * patch.number),
    `let at = 4u * ${patch.step} * ${groups}u + ${patch.group};`,
    ...range(4).map((kk) => `${target}[at + ${kk * groups}u] = v${kk};`),
    "}",
  ];
}

/** Loads four rows along the inner axis and transposes them. */
function loadTransposed({ load, vector, address, mask }: Staging, first: number): string[] {
  const rows = range(4).map((l) => {
    const row = first + l;
    const and = mask ? ` && ${mask(row, "k")}` : "";
    const value = vector
      ? `select(vec4f(), ${load(`(${address(row)} + min(k, count - 4u)) / 4u`)}, k < count${and})`
      : `vec4f(${
        range(4).map((kk) =>
          `select(0f, ${
            load(`${address(row)} + min(k + ${kk}u, count - 1u)`)
          }, k + ${kk}u < count${and})`
        ).join(", ")
      })`;
    return `let u${l} = ${value};`;
  });
  const columns = COMPONENTS.map((component, kk) =>
    `let v${kk} = vec4f(u0.${component}, u1.${component}, u2.${component}, u3.${component});`
  );
  return [...rows, ...columns];
}

/** Loads four inner steps, each with four neighbors along the other axis. */
function loadStraight(
  { load, vector, step, address, mask }: Staging,
  first: number,
): string[] {
  return range(4).flatMap((kk) => {
    const k = `k${kk}`;
    const exists = (row: number): string =>
      `k + ${kk}u < count${mask ? ` && ${mask(row, k)}` : ""}`;
    const value = vector
      ? `select(vec4f(), ${load(`(${address(first)} + ${k} * ${step}) / 4u`)}, ${exists(first)})`
      : `vec4f(${
        range(4).map((l) =>
          `select(0f, ${load(`${address(first + l)} + ${k} * ${step}`)}, ${exists(first + l)})`
        ).join(", ")
      })`;
    return [`let ${k} = min(k + ${kk}u, count - 1u);`, `let v${kk} = ${value};`];
  });
}

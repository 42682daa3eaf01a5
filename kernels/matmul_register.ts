/** The part of the generator that keeps a product in registers, without workgroup memory or barriers. @module */

import {
  type Addressing,
  COMPONENTS,
  declareAccumulators,
  type ProductForm,
  range,
  vectorAccumulators,
} from "./matmul_form.ts";
import { dealtOperand, type LaneOperand, ownOperand } from "./matmul_operand.ts";
import type { Tile } from "./matmul_tile.ts";

/** Inner steps of a loop iteration, at least: at its end a software adapter moves every accumulator. */
const LEAST_STEPS = 4;
/** Rows and columns that are multiplied together: their numbers and sums stay in registers meanwhile. */
const BLOCK = 4;

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
  const operand = (name: "a" | "b"): LaneOperand =>
    (tile.broadcast === name ? dealtOperand : ownOperand)(tile, form, { name, addressing });
  const a = operand("a");
  const b = operand("b");
  const steps = Math.max(LEAST_STEPS, a.steps, b.steps);
  // Vectors along the inner axis exist only where its length is a multiple of 4.
  const byFours = (form.aVector && form.aAlong === "inner") ||
    (form.bVector && form.bAlong === "inner");
  const tail = steps > 4 || !byFours;
  const dot = tile.family === "dot";
  const first = dot ? `laneX * ${steps}u` : "0u";
  return [
    declareAccumulators(tile, form),
    ...a.before,
    ...b.before,
    addressing.open(a.prepared),
    `for (var k = ${first}; k < count; k += ${dot ? tile.lanesX * steps : steps}u) {`,
    ...a.loads(steps, tail),
    ...b.loads(steps, tail),
    ...multiplyAdds(tile, form, { a, b, steps }),
    "}",
    addressing.close,
    ...(dot ? sharedSums(tile, form) : []),
  ].join("\n");
}

/** Blocks of rows × columns, each over all steps, so that a block's sums are loaded and stored once. */
function multiplyAdds(
  tile: Tile,
  form: ProductForm,
  { a, b, steps }: { a: LaneOperand; b: LaneOperand; steps: number },
): string[] {
  const vector = vectorAccumulators(tile, form);
  const lines: string[] = [];
  // A number that is dealt out is named, for it serves many products.
  const name = (operand: "a" | "b", i: number, kk: number): string =>
    tile.broadcast === operand ? `${operand}n${i}_${kk}` : (operand === "a" ? a : b).number(i, kk);
  const deal = (operand: LaneOperand, block: number[]): void => {
    for (const kk of range(steps)) {
      for (const i of block) {
        lines.push(`let ${tile.broadcast}n${i}_${kk} = ${operand.number(i, kk)};`);
      }
    }
  };
  const multiply = (rows: number[], columns: number[]): void => {
    for (const kk of range(steps)) {
      for (const i of rows) {
        if (vector) {
          const [j] = columns as [number];
          const four = b.number(j, kk).replace(/\.x$/, "");
          lines.push(
            `c${i}_${j >> 2} = fma(vec4f(${name("a", i, kk)}), ${four}, c${i}_${j >> 2});`,
          );
        } else {
          for (const j of columns) {
            lines.push(`c${i}_${j} = fma(${name("a", i, kk)}, ${name("b", j, kk)}, c${i}_${j});`);
          }
        }
      }
    }
  };
  const rowBlocks = blocksOf(tile.rows);
  const columnBlocks = blocksOf(tile.columns);
  if (tile.broadcast === "b") {
    for (const columns of columnBlocks) {
      deal(b, columns);
      for (const rows of rowBlocks) multiply(rows, columns);
    }
  } else {
    for (const rows of rowBlocks) {
      if (tile.broadcast === "a") deal(a, rows);
      for (const columns of columnBlocks) multiply(rows, columns);
    }
  }
  return lines;
}

function blocksOf(count: number): number[][] {
  return range(Math.ceil(count / BLOCK)).map((block) =>
    range(Math.min(BLOCK, count - block * BLOCK)).map((i) => block * BLOCK + i)
  );
}

/**
 * Declares the workgroup memory of a `dot` that needs one: a number for each lane.
 *
 * @param tile What a workgroup owns.
 * @returns Module-scope WGSL.
 */
export function dotMemory({ lanesX, lanesY }: Tile): string {
  return `var<workgroup> partial: array<f32, ${lanesX * lanesY}>;\n`;
}

/** Adds up what the lanes that share a sum have. */
function sharedSums(tile: Tile, form: ProductForm): string[] {
  const vector = vectorAccumulators(tile, form);
  const sums = range(tile.rows).flatMap((i) =>
    range(tile.columns).map((j) => vector ? `c${i}_${j >> 2}.${COMPONENTS[j & 3]}` : `c${i}_${j}`)
  );
  if (tile.subgroupSum) return sums.map((sum) => `${sum} = subgroupAdd(${sum});`);
  return sums.flatMap((sum) => [
    `partial[lane] = ${sum};`,
    "workgroupBarrier();",
    `for (var width = ${tile.lanesX / 2}u; width > 0u; width >>= 1u) {`,
    "if (laneX < width) { partial[lane] += partial[lane + width]; }",
    "workgroupBarrier();",
    "}",
    `${sum} = partial[lane - laneX];`,
    "workgroupBarrier();",
  ]);
}

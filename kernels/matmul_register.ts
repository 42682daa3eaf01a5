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
    declareAccumulators(tile),
    ...a.before,
    ...b.before,
    addressing.open(a.prepared),
    `for (var k = ${first}; k < count; k += ${dot ? tile.lanesX * steps : steps}u) {`,
    ...a.loads(steps, tail),
    ...b.loads(steps, tail),
    ...multiplyAdds(tile, { a, b, steps }),
    "}",
    addressing.close,
    ...(dot ? sharedSums(tile) : []),
  ].join("\n");
}

/** Blocks of rows × columns, each over all steps, so that a block's sums are loaded and stored once. */
function multiplyAdds(
  tile: Tile,
  { a, b, steps }: { a: LaneOperand; b: LaneOperand; steps: number },
): string[] {
  const lines: string[] = [];
  const vector = vectorAccumulators(tile);
  // What is dealt out is named, for it serves many products.
  const names = new Map<string, string>();
  const name = (value: string): string => names.get(value) ?? value;
  const number = (operand: LaneOperand, i: number, kk: number): string => {
    const { value, component } = operand.number(i, kk);
    return component === undefined ? name(value) : `${name(value)}.${COMPONENTS[component]}`;
  };
  const deal = (operand: LaneOperand, block: number[]): void => {
    for (const kk of range(steps)) {
      for (const i of block) {
        const { value } = operand.number(i, kk);
        if (names.has(value)) continue;
        const dealt = `${tile.broadcast}n${names.size}`;
        lines.push(`let ${dealt} = ${value};`);
        names.set(value, dealt);
      }
    }
  };
  const fours = new Map<string, string>();
  const gather = (columns: number[]): void => {
    for (const kk of range(steps)) {
      const numbers = columns.map((j) => b.number(j, kk));
      const whole = numbers.every(({ value, component }, j) =>
        value === numbers[0]!.value && component === j
      );
      const four = whole ? name(numbers[0]!.value) : `b${columns[0]}at${kk}`;
      if (!whole) {
        lines.push(`let ${four} = vec4f(${columns.map((j) => number(b, j, kk)).join(", ")});`);
      }
      fours.set(`${columns[0]} ${kk}`, four);
    }
  };
  const multiply = (rows: number[], columns: number[]): void => {
    for (const kk of range(steps)) {
      for (const i of rows) {
        const left = number(a, i, kk);
        if (vector) {
          const sum = `c${i}_${columns[0]! >> 2}`;
          lines.push(`${sum} = fma(vec4f(${left}), ${fours.get(`${columns[0]} ${kk}`)}, ${sum});`);
        } else {
          for (const j of columns) {
            lines.push(`c${i}_${j} = fma(${left}, ${number(b, j, kk)}, c${i}_${j});`);
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
      if (vector) gather(columns);
      for (const rows of rowBlocks) multiply(rows, columns);
    }
  } else {
    if (vector) columnBlocks.forEach(gather);
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
function sharedSums(tile: Tile): string[] {
  const vector = vectorAccumulators(tile);
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

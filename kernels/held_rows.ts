/**
 * Kernels whose lanes hold a row in registers from its sum to its result, so that each element is loaded once. For software adapters, where
 * the lanes of a subgroup share a row and add up without waiting for each other. @module
 */

import type { Gpu, RunOptions } from "./gpu.ts";
import { definePackedKernel, type PackedInput, type PackedKernel, runPacked } from "./pack.ts";
import { elementBytes, type Slice, sliceRows, splitRows } from "./slice.ts";
import { copyLimits } from "./texel_pool.ts";

/** Lanes of a subgroup of a software adapter, a workgroup here. */
const LANES = 8;
/** Fewer packs of a lane are not worth a text of their own, and more take too long to compile. */
const LEAST_PACKS = 2, MOST_PACKS = 48;
/** Rows of a workgroup at most, as its start costs time, and workgroups that keep the cores busy. */
const MOST_ROWS = 16, BUSY_WORKGROUPS = 64;

/** A text for rows of a fixed length. */
export interface HeldRow {
  /** Packs of a lane. */
  packs: number;
  /** Packs of a row. */
  rowPacks: number;
  /** Text for each of them, joined by line breaks; `at`: the pack's distance from a lane's first one, as WGSL. */
  each: (text: (i: number, at: string) => string) => string;
  /** Combines the expressions of all packs, four at a time. */
  combine: (join: (a: string, b: string) => string, operand: (i: number) => string) => string;
}

/**
 * Defines a kernel that is made anew for each length of a row.
 *
 * @param name As for {@linkcode definePackedKernel}.
 * @param inputs As for {@linkcode definePackedKernel}.
 * @param source Makes its WGSL: a workgroup takes `params.each` rows of `params.rows`.
 * @returns The kernel for rows of so many packs.
 */
export function defineHeldKernel(
  name: string,
  inputs: Readonly<Record<string, PackedInput>>,
  source: (row: HeldRow) => string,
): (rowPacks: number) => PackedKernel {
  const kernels = new Map<number, PackedKernel>();
  return (rowPacks) => {
    let kernel = kernels.get(rowPacks);
    if (!kernel) {
      kernel = definePackedKernel(name, source(heldRow(rowPacks)), inputs);
      kernels.set(rowPacks, kernel);
    }
    return kernel;
  };
}

function heldRow(rowPacks: number): HeldRow {
  const packs = rowPacks / LANES;
  const all = Array.from({ length: packs }, (_, i) => i);
  return {
    packs,
    rowPacks,
    each: (text) => all.map((i) => text(i, `${i * LANES}u`)).join("\n"),
    combine: (join, operand) => {
      const groups: string[] = [];
      for (let i = 0; i < packs; i += 4) {
        groups.push(all.slice(i, i + 4).map(operand).reduce(join));
      }
      return groups.reduce(join);
    },
  };
}

/**
 * Tells whether rows are to be held.
 *
 * @param gpu The device.
 * @param columns Elements of a row.
 * @returns Whether a subgroup of the adapter is what the kernels are made for, and the length fits.
 */
export function holdsRows(gpu: Gpu, columns: number): boolean {
  const packs = columns / 4 / LANES;
  return gpu.adapter.software && gpu.adapter.subgroupSize === LANES && Number.isInteger(packs) &&
    packs >= LEAST_PACKS && packs <= MOST_PACKS;
}

/** What {@linkcode runHeldRows} runs. */
export interface HeldRowsOptions {
  /** Rows. */
  rows: number;
  /** Elements of a row. */
  columns: number;
  /** Matrices of these rows by variable name, all f32 or all f16. */
  matrices: Readonly<Record<string, Slice>>;
  /** Other operands of so many bytes a row. */
  vectors?: Readonly<Record<string, { slice: Slice; rowBytes: number }>>;
  /** What all rows share. */
  whole?: Readonly<Record<string, Slice>>;
  /** Every field of `struct Params` but `rows` and `each`. */
  params?: RunOptions["params"];
}

/**
 * Runs an entry point over rows that {@linkcode holdsRows} accepts.
 *
 * @param gpu The device.
 * @param kernel What {@linkcode defineHeldKernel} returned.
 * @param entryPoint Its entry point.
 * @param options Operands.
 */
export function runHeldRows(
  gpu: Gpu,
  kernel: (rowPacks: number) => PackedKernel,
  entryPoint: string,
  options: HeldRowsOptions,
): void {
  const { rows, columns, matrices, vectors = {}, whole } = options;
  const held = kernel(columns / 4);
  const operands = [
    ...Object.entries(matrices).map(([name, slice]) =>
      [name, { slice, rowBytes: elementBytes(slice) * columns }] as const
    ),
    ...Object.entries(vectors),
  ];
  const split = {
    rowBytes: operands.map(([, { rowBytes }]) => rowBytes),
    operation: `${held.vector.name}.${entryPoint}`,
  };
  for (const range of splitRows(copyLimits(gpu), rows, split)) {
    const each = Math.min(MOST_ROWS, Math.max(1, Math.floor(range.count / BUSY_WORKGROUPS)));
    runPacked(gpu, held, columns, entryPoint, {
      buffers: {
        ...whole,
        ...Object.fromEntries(
          operands.map(([name, { slice, rowBytes }]) => [name, sliceRows(slice, range, rowBytes)]),
        ),
      },
      params: { ...options.params, rows: range.count, each },
      constants: { THREADS: LANES },
      threads: Math.ceil(range.count / each) * LANES,
    });
  }
}

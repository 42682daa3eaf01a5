/** 2-D rotary position embedding: its table, the op, and the splitting of fused projections into turned heads. @module */

import {
  type FusedHeads,
  type HeadsView,
  joinFusedHeads,
  splitFusedHeads,
  turnHeads,
} from "../kernels/rotary.ts";
import { dims, type Operand, type Tensor } from "./tensor.ts";

/** Options of {@linkcode rotaryTable}. */
export interface RotaryTableOptions {
  /** Rows and columns of the grid of tokens. */
  gridSize: number;
  /** Elements a head; a multiple of 4, since half of the pairs turn by the row and half by the column. */
  headDim: number;
  /** Base of the geometric series of frequencies. Default 10000. */
  base?: number;
  /** Positions before the grid, whose cosine and sine are both 0. Default 1: the class token. */
  classTokens?: number;
}

/**
 * Computes the table of cosines and sines, with the roundings to f32 that the reference makes on the way.
 *
 * A class position has cosine = sine = 0, so its query and key become zero vectors (reference:
 * src/IBQ/modules/transformer/llama.py, `precompute_freqs_cis_2d`).
 *
 * @param options Sizes and base.
 * @returns (classTokens + gridSize², headDim / 2, [cosine, sine]), last axis fastest.
 * @throws {RangeError} If the head dimension is not a multiple of 4.
 */
export function rotaryTable(options: RotaryTableOptions): Float32Array {
  const { gridSize, headDim, base = 10000, classTokens = 1 } = options;
  if (headDim % 4 !== 0 || headDim <= 0) {
    throw new RangeError(
      `Cannot make a rotary table: expected a head dimension that is a multiple of 4, found ${headDim}`,
    );
  }
  const pairs = headDim / 2;
  const frequencies = Array.from(
    { length: pairs / 2 },
    (_, i) => Math.fround(1 / Math.fround(base ** Math.fround(2 * i / pairs))),
  );
  const table = new Float32Array((classTokens + gridSize ** 2) * pairs * 2);
  let at = classTokens * pairs * 2;
  for (let row = 0; row < gridSize; row++) {
    for (let column = 0; column < gridSize; column++) {
      for (const position of [row, column]) {
        for (const frequency of frequencies) {
          const angle = Math.fround(position * frequency);
          table[at++] = Math.cos(angle);
          table[at++] = Math.sin(angle);
        }
      }
    }
  }
  return table;
}

/** Options of {@linkcode rotary} and {@linkcode splitHeads}. */
export interface RotaryOptions {
  /** Position of the first token in the table. Default 0. */
  firstPosition?: number;
}

/**
 * Turns the interleaved pairs (2i, 2i + 1) of each head by the angle of the token's position.
 *
 * @param x (batch, tokens, heads, headDim).
 * @param table (positions, headDim / 2, 2): cosine and sine; constant.
 * @param options First position.
 * @returns Same shape.
 * @throws {TypeError} If the table's shape does not fit.
 * @throws {RangeError} If the table has too few positions.
 */
export function rotary(x: Tensor, table: Operand, options: RotaryOptions = {}): Tensor {
  const { batch, tokens, heads, headDim } = dims(x, "batch tokens heads headDim", "rotary()");
  const { firstPosition = 0 } = options;
  checkTable(table, { headDim, positions: firstPosition + tokens });
  const turn = (from: Tensor, direction: 1 | -1): Tensor => {
    const to = from.tape.alloc(x.shape, x.dtype);
    turnHeads(from.tape.gpu, {
      x: from.storage,
      y: to.storage,
      batch,
      tokens,
      heads,
      headDim,
      rotation: { table: table.storage, firstPosition, direction },
    });
    return to;
  };
  return x.tape.record("rotary", turn(x, 1), [x], (dy) => [turn(dy, -1)]);
}

/** Options of {@linkcode splitHeads}. */
export interface SplitHeadsOptions extends RotaryOptions {
  /** Query heads. */
  heads: number;
  /** Key and value heads; divides `heads`. */
  kvHeads: number;
}

/** Queries, keys and values of an attention. */
export interface Heads {
  /** (batch, tokens, heads, headDim). */
  query: Tensor;
  /** (batch, tokens, kvHeads, headDim). */
  key: Tensor;
  /** (batch, tokens, kvHeads, headDim). */
  value: Tensor;
}

/**
 * Splits rows of a fused projection [query | key | value] into heads and turns queries and keys by their position.
 *
 * @param qkv (batch, tokens, (heads + 2 kvHeads) · headDim).
 * @param table (positions, headDim / 2, 2): cosine and sine; constant.
 * @param options Heads and first position.
 * @returns The three, of which query and key are turned.
 * @throws {TypeError} If the table's shape does not fit.
 * @throws {RangeError} If the columns do not divide into the heads, or the table has too few positions.
 */
export function splitHeads(qkv: Tensor, table: Operand, options: SplitHeadsOptions): Heads {
  const { batch, tokens, columns } = dims(qkv, "batch tokens columns", "splitHeads()");
  const { heads, kvHeads, firstPosition = 0 } = options;
  const headDim = columns / (heads + 2 * kvHeads);
  if (!Number.isInteger(headDim)) {
    throw new RangeError(
      `Cannot split heads: expected columns divisible by ${
        heads + 2 * kvHeads
      } heads, found ${columns}`,
    );
  }
  checkTable(table, { headDim, positions: firstPosition + tokens });
  const { tape } = qkv;
  const outputs = [heads, kvHeads, kvHeads].map((count) =>
    tape.alloc([batch, tokens, count, headDim], qkv.dtype)
  );
  const shared = { batch, tokens, headDim, heads, kvHeads };
  const rotation = { table: table.storage, firstPosition };
  splitFusedHeads(tape.gpu, {
    ...shared,
    rows: qkv.storage,
    parts: viewsOf(outputs),
    rotation: { ...rotation, direction: 1 },
  });
  tape.recordNode({
    op: "splitHeads",
    inputs: [qkv],
    outputs,
    backward: (gradients) => {
      const dqkv = tape.alloc(qkv.shape, qkv.dtype);
      // A part that the loss does not depend on has no gradient.
      const parts = gradients.map((dy, i) => dy ?? tape.zeros(outputs[i]!.shape, qkv.dtype));
      joinFusedHeads(tape.gpu, {
        ...shared,
        rows: dqkv.storage,
        parts: viewsOf(parts),
        rotation: { ...rotation, direction: -1 },
      });
      return [dqkv];
    },
  });
  const [query, key, value] = outputs;
  return { query: query!, key: key!, value: value! };
}

/** All heads of a tensor (batch, tokens, heads, headDim). */
function viewOf(x: Operand): HeadsView {
  const [, tokens, heads, headDim] = x.shape as [number, number, number, number];
  const width = heads * headDim;
  return {
    slice: x.storage,
    batchStride: tokens * width,
    tokenStride: width,
    offset: 0,
  };
}

function viewsOf([query, key, value]: readonly Tensor[]): FusedHeads["parts"] {
  return [viewOf(query!), viewOf(key!), viewOf(value!)];
}

function checkTable(table: Operand, expected: { headDim: number; positions: number }): void {
  const { positions, pairs, parts } = dims(table, "positions pairs parts", "rotary() table");
  if (2 * pairs !== expected.headDim || parts !== 2) {
    throw new TypeError(
      `Cannot use rotary() table: expected shape [positions, ${
        expected.headDim / 2
      }, 2], found [${table.shape}]`,
    );
  }
  if (expected.headDim % 4 !== 0) {
    throw new RangeError(
      `Cannot turn heads: expected a head dimension that is a multiple of 4, found ${expected.headDim}`,
    );
  }
  if (positions < expected.positions) {
    throw new RangeError(
      `Cannot use rotary() table: expected at least ${expected.positions} positions, found ${positions}`,
    );
  }
}

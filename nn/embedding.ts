/** Embedding: vectors looked up by index in a trained table. @module */

import { gatherRows, scatterRows } from "../kernels/embedding.ts";
import { Module, type ModuleContext } from "./module.ts";
import { dims, type Operand, type Parameter, sizeOf, type Tensor } from "./tensor.ts";

/**
 * Rows of a table by index. The gradient of the table adds up the uses of each row, always in the same order.
 *
 * @param indices Any shape, u32, each below `rows`; another number gives NaN.
 * @param table Shape (rows, width), f32 or f16.
 * @returns Shape (…indices, width), f32.
 * @throws {TypeError} If the indices are not u32 or the table is not a matrix.
 */
export function embedding(indices: Tensor, table: Operand): Tensor {
  const { rows, width } = dims(table, "rows width", "embedding() table");
  if (indices.dtype !== "u32") {
    throw new TypeError(
      `Cannot run embedding(): expected indices of dtype u32, found ${indices.dtype}`,
    );
  }
  const { tape } = indices;
  const shape = { rows, columns: width, uses: sizeOf(indices.shape) };
  const y = tape.alloc([...indices.shape, width]);
  gatherRows(tape.gpu, shape, {
    table: table.storage,
    indices: indices.storage,
    y: y.storage,
  });
  return tape.record("embedding", y, [table], (dy) => {
    const dtable = tape.alloc(table.shape);
    scatterRows(tape.gpu, shape, {
      indices: indices.storage,
      dy: dy.storage,
      dtable: dtable.storage,
    });
    return [dtable];
  });
}

/** Options of {@linkcode Embedding}. */
export interface EmbeddingOptions {
  /** Number of vectors. */
  rows: number;
  /** Elements of a vector. */
  width: number;
  /** Standard deviation of the initial normal values, default 1. */
  standardDeviation?: number;
}

/** A trained table of vectors. */
export class Embedding extends Module {
  /** The table, shape (rows, width). */
  readonly weight: Parameter;

  /**
   * Makes the table with normal initial values.
   *
   * @param context Makes the parameters.
   * @param options Sizes and initial values.
   */
  constructor(context: ModuleContext, options: EmbeddingOptions) {
    super();
    const { rows, width, standardDeviation = 1 } = options;
    const initializer = { kind: "normal", standardDeviation } as const;
    this.weight = this.register("weight", context.parameter([rows, width], initializer));
  }

  /**
   * Looks vectors up.
   *
   * @param indices Any shape, u32, each below `rows`.
   * @returns Shape (…indices, width).
   */
  forward(indices: Tensor): Tensor {
    return embedding(indices, this.weight);
  }
}

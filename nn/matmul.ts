/** Matrix products of tensors. @module */

import { matmul as launch, type MatrixOperand } from "../kernels/matmul.ts";
import type { DataType, Operand, Tensor } from "./tensor.ts";

/** Options of {@linkcode matmul}. */
export interface MatmulOptions {
  /** Whether `a` is stored as (inner, rows). Default false. */
  transposeA?: boolean;
  /** Whether `b` is stored as (columns, inner). Default false. */
  transposeB?: boolean;
}

interface Sides {
  transposeA: boolean;
  transposeB: boolean;
  /** Type of the product. */
  dtype: DataType;
}

/**
 * Product of two matrices, or of each pair of matrices of two batches.
 *
 * @param a Shape (rows, inner) or (batch, rows, inner); the last two swapped with `transposeA`.
 * @param b Shape (inner, columns) or (batch, inner, columns); the last two swapped with `transposeB`.
 * @param options Transpositions.
 * @returns Shape (rows, columns) or (batch, rows, columns), of the type of `a`; `b` may have another (f32, f16).
 * @throws {TypeError} If the shapes do not fit.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const sides = {
    transposeA: options.transposeA ?? false,
    transposeB: options.transposeB ?? false,
    dtype: a.dtype,
  };
  const { transposeA, transposeB } = sides;
  const c = product(a, b, sides);
  return a.tape.record("matmul", c, [a, b], (dc, needs) => [
    !needs[0]
      ? undefined
      : transposeA
      ? product(b, dc, { ...sides, transposeA: transposeB, transposeB: true })
      : product(dc, b, { ...sides, transposeA: false, transposeB: !transposeB }),
    !needs[1]
      ? undefined
      : transposeB
      ? product(dc, a, { dtype: b.dtype, transposeA: true, transposeB: transposeA })
      : product(a, dc, { dtype: b.dtype, transposeA: !transposeA, transposeB: false }),
  ]);
}

function product(a: Tensor, b: Tensor, { transposeA, transposeB, dtype }: Sides): Tensor {
  const left = matricesOf(a);
  const right = matricesOf(b);
  const rows = transposeA ? left.columns : left.rows;
  const inner = transposeA ? left.rows : left.columns;
  const columns = transposeB ? right.rows : right.columns;
  if (
    a.shape.length !== b.shape.length || left.batch !== right.batch ||
    inner !== (transposeB ? right.columns : right.rows)
  ) {
    throw new TypeError(
      `Cannot run matmul(): expected matrices that fit each other, found [${a.shape}]${
        transposeA ? " transposed" : ""
      } and [${b.shape}]${transposeB ? " transposed" : ""}`,
    );
  }
  const { tape } = a;
  const shape = a.shape.length === 2 ? [rows, columns] : [left.batch, rows, columns];
  const c = tape.alloc(shape, dtype);
  launch(tape.gpu, {
    a: operandOf(a),
    b: operandOf(b),
    c: operandOf(c),
    rows,
    columns,
    inner,
    transposeA,
    transposeB,
    batch: [left.batch, 1],
  });
  return c;
}

function operandOf(x: Operand): MatrixOperand {
  return { slice: x.storage };
}

function matricesOf(x: Operand): { batch: number; rows: number; columns: number } {
  const [batch, rows, columns] = x.shape.length === 2 ? [1, ...x.shape] : x.shape;
  if (x.shape.length < 2 || x.shape.length > 3) {
    throw new TypeError(
      `Cannot run matmul(): expected shape (rows, columns) or (batch, rows, columns), found [${x.shape}]`,
    );
  }
  return { batch: batch!, rows: rows!, columns: columns! };
}

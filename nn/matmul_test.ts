import { assertThrows } from "@std/assert";
import { REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase } from "../tests/op_case.ts";
import { matmul } from "./matmul.ts";
import { Tape } from "./tape.ts";

function matmulCase(
  name: string,
  [batch, rows, inner, columns]: readonly [number, number, number, number],
  options: { transposeA?: boolean; transposeB?: boolean; axes?: 2 | 3; bindingLimit?: number } = {},
): OpCase {
  const { transposeA = false, transposeB = false, axes = 3, bindingLimit } = options;
  const lead = axes === 3 ? [batch] : [];
  return {
    name,
    inputs: {
      a: { shape: [...lead, ...(transposeA ? [inner, rows] : [rows, inner])] },
      b: { shape: [...lead, ...(transposeB ? [columns, inner] : [inner, columns])] },
    },
    run: ({ a, b }) => matmul(a!, b!, { transposeA, transposeB }),
    reference: ({ a, b }) =>
      Array.from({ length: batch * rows * columns }, (_, at) => {
        const n = Math.floor(at / (rows * columns));
        const i = Math.floor(at / columns) % rows;
        const j = at % columns;
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          sum += a![n * rows * inner + (transposeA ? k * rows + i : i * inner + k)]! *
            b![n * columns * inner + (transposeB ? j * inner + k : k * columns + j)]!;
        }
        return sum;
      }),
    close: REDUCTION,
    ...(bindingLimit !== undefined && { bindingLimit }),
  };
}

checkOp("matmul()", [
  matmulCase("of two matrices", [1, 5, 9, 7], { axes: 2 }),
  matmulCase("of a batch", [3, 5, 9, 7]),
  matmulCase("with a transposed left side", [2, 12, 8, 20], { transposeA: true }),
  matmulCase("with a transposed right side", [2, 12, 8, 20], { transposeB: true }),
  matmulCase("with both sides transposed", [2, 5, 9, 7], { transposeA: true, transposeB: true }),
  matmulCase("in ranges", [5, 24, 40, 36], { bindingLimit: 8192 }),
]);

gpuTest("matmul() rejects matrices that do not fit each other", (gpu) => {
  using tape = new Tape(gpu);
  const a = tape.input(new Float32Array(6), [2, 3]);
  assertThrows(
    () => matmul(a, a, { transposeA: true, transposeB: true }),
    TypeError,
    "Cannot run matmul(): expected matrices that fit each other, found [2,3] transposed and [2,3] transposed",
  );
});

/**
 * Rates of matrix products: `deno run -A --preload tools/gpu_env.ts bench/matmul_bench.ts`.
 *
 * @module
 */

import { Gpu } from "../kernels/gpu.ts";
import { matmul } from "../kernels/matmul.ts";
import { acquireNumbers, type Passes, printPasses } from "./rate.ts";

/** Rows, inputs and outputs of linear layers: large ones, transformer blocks, head, 1×1 convolutions, one decoding step. */
const LAYERS = [
  [1024, 1024, 1024],
  [2048, 256, 16384],
  [4096, 128, 128],
  [4096, 128, 384],
  [4096, 128, 512],
  [4096, 512, 128],
  [16384, 32, 32],
  [4096, 128, 3],
  [16, 128, 512],
  [1, 512, 1024],
] as const;

/**
 * Opens the passes of a linear layer.
 *
 * @param gpu The device.
 * @param sizes Rows, inputs and outputs.
 * @returns The passes over buffers of their own.
 */
export function linearPasses(gpu: Gpu, sizes: readonly [number, number, number]): Passes {
  const [rows, inputs, outputs] = sizes;
  const x = acquireNumbers(gpu, rows * inputs);
  const weight = acquireNumbers(gpu, outputs * inputs);
  const y = acquireNumbers(gpu, rows * outputs);
  return {
    name: `linear ${rows} x ${inputs} -> ${outputs}`,
    operations: 2 * rows * inputs * outputs,
    record: {
      forward: () =>
        matmul(gpu, {
          a: { slice: x },
          b: { slice: weight },
          c: { slice: y },
          rows,
          columns: outputs,
          inner: inputs,
          transposeB: true,
        }),
      "input gradient": () =>
        matmul(gpu, {
          a: { slice: y },
          b: { slice: weight },
          c: { slice: x },
          rows,
          columns: inputs,
          inner: outputs,
        }),
      "weight gradient": () =>
        matmul(gpu, {
          a: { slice: y },
          b: { slice: x },
          c: { slice: weight },
          rows: outputs,
          columns: inputs,
          inner: rows,
          transposeA: true,
        }),
    },
    [Symbol.dispose]: () => [x, weight, y].forEach((slice) => gpu.release(slice)),
  };
}

if (import.meta.main) {
  using gpu = await Gpu.open();
  console.log(gpu.adapter.name);
  for (const sizes of LAYERS) {
    using passes = linearPasses(gpu, sizes);
    await printPasses(gpu, passes);
  }
}

import { assertEquals } from "@std/assert";
import { assertClose, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import type { Gpu } from "./gpu.ts";
import { quantizerGradients } from "./quantizer_backward.ts";
import { quantizeTokens } from "./quantizer_forward.ts";
import { logitBytes, logitPlan } from "./quantizer_plan.ts";
import type { Slice } from "./slice.ts";

/** Several shares of a row, partial ones included, at eight lanes and at as many as a GPU takes. */
const SIZE = { rows: 9, codes: 3001, dimensions: 8 };
/** Rows of one lane each, of all lanes and of some, in one band of codes and in several, the last of which is smaller. */
const LANES = [
  { threads: 8, rowLanes: 8, bandCodes: 4096 },
  { threads: 8, rowLanes: 1, bandCodes: 4096 },
  { threads: 8, rowLanes: 1, bandCodes: 700 },
  { threads: 64, rowLanes: 64, bandCodes: 1500 },
  { threads: 64, rowLanes: 1, bandCodes: 300 },
  { threads: 128, rowLanes: 128, bandCodes: 4096 },
  { threads: 128, rowLanes: 32, bandCodes: 64 },
];

/** Forward and backward in one division; the tokens' scale decides whether logits are sharpened. */
async function run(
  gpu: Gpu,
  lanes: (typeof LANES)[number],
  scale: number,
): Promise<Float32Array[]> {
  const { rows, codes, dimensions } = SIZE;
  const taken: Slice[] = [];
  const take = (count: number): Slice => {
    const slice = gpu.acquire(4 * count);
    taken.push(slice);
    return slice;
  };
  const upload = (name: string, count: number, factor = 1): Slice => {
    const slice = take(count);
    gpu.upload(slice, randomNumbers(count, name).map((value) => value * factor));
    return slice;
  };
  const plan = logitPlan(gpu, SIZE, 2 ** 20, lanes);
  const operands = {
    ...SIZE,
    plan,
    z: upload("z", rows * dimensions, scale),
    codebook: upload("codes", codes * dimensions),
    entropyTemperature: 0.05,
    kept: plan.blocks.map(({ count }) => take(logitBytes(plan, count) / 4)),
    rowStatistics: take(4 * rows),
    bases: take(plan.bands.length * rows),
  };
  const forward = { indices: take(rows), rowEntropies: take(rows), average: take(codes) };
  quantizeTokens(gpu, { ...operands, ...forward });
  const gradients = { dz: upload("dz", rows * dimensions), dcodebook: take(codes * dimensions) };
  quantizerGradients(gpu, {
    ...operands,
    ...gradients,
    dzq: upload("dzq", rows * dimensions),
    entropy: {
      coefficients: upload("coefficients", 2),
      codeWeights: upload("weights", 4 * Math.ceil(codes / 4)),
    },
  });
  const results = [...Object.values(forward), ...Object.values(gradients)];
  const bytes = await gpu.read(results);
  for (const slice of taken) gpu.release(slice);
  return bytes.map((each) => new Float32Array(each));
}

for (const scale of [0.1, 5]) {
  gpuTest(
    `a quantizer's passes agree on workgroups and bands of any size, tokens times ${scale}`,
    async (gpu) => {
      const [want, ...others] = await Promise.all(
        LANES.map((lanes) => run(gpu, lanes, scale)),
      ) as [Float32Array[], ...Float32Array[][]];
      for (const found of others) {
        assertEquals(new Uint32Array(found[0]!.buffer), new Uint32Array(want[0]!.buffer));
        for (const [at, numbers] of found.entries()) {
          // Gradients are differences of large numbers: their errors are measured against the largest.
          const absolute = REDUCTION.relative * Math.max(...want[at]!.map(Math.abs));
          assertClose(numbers, want[at]!, { relative: 0, absolute }, `result ${at}`);
        }
      }
    },
  );
}

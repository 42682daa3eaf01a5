import { assertEquals } from "@std/assert";
import { gpuTest } from "../tests/op_case.ts";
import { flagNonFinite } from "./finite.ts";
import { Gpu } from "./gpu.ts";

/** Flags of tensors that hold one such value among ones; a flag more, for which nothing is looked at, stays 0. */
async function flagsOf(
  gpu: Gpu,
  values: readonly number[],
  { count, at, half }: { count: number; at: number; half: boolean },
): Promise<number[]> {
  const flags = gpu.acquire(4 * (values.length + 1));
  gpu.clear(flags);
  const taken = values.map((value, flag) => {
    const elements = new Float32Array(count).fill(1);
    elements[at] = value;
    const bytes = (half ? 2 : 4) * count;
    // What follows a tensor in its buffer is not looked at.
    const whole = gpu.acquire(4 * Math.ceil(bytes / 4) + 4);
    gpu.upload(whole, new Uint32Array(Math.ceil(bytes / 4) + 1).fill(0xffffffff));
    const x = half ? { ...whole, bytes, half } : { ...whole, bytes };
    if (half && count % 2 === 1) {
      // The last word keeps its upper half.
      const padded = new Float16Array(count + 1).fill(NaN);
      padded.set(elements);
      gpu.upload(whole, padded);
    } else gpu.upload(x, half ? Float16Array.from(elements) : elements);
    flagNonFinite(gpu, { x, flags, flag });
    return whole;
  });
  const [bytes] = await gpu.read([flags]);
  for (const slice of [flags, ...taken]) gpu.release(slice);
  return [...new Uint32Array(bytes!)];
}

const LARGEST_F32 = 3.4028234663852886e38;
const LARGEST_F16 = 65504;

for (const half of [false, true]) {
  const largest = half ? LARGEST_F16 : LARGEST_F32;
  const values = [NaN, Infinity, -Infinity, largest, -largest, 0, -0, 1e-7];
  const want = [1, 1, 1, 0, 0, 0, 0, 0, 0];
  for (const [count, at] of [[1, 0], [2, 1], [5, 4], [1001, 1000], [1001, 3], [70000, 69999]]) {
    gpuTest(
      `NaN and infinity at ${at} of ${count} ${half ? "f16" : "f32"} are flagged`,
      async (gpu) => {
        assertEquals(await flagsOf(gpu, values, { count: count!, at: at!, half }), want);
      },
    );
  }
  gpuTest(
    `NaN and infinity in ${half ? "f16" : "f32"} beyond one binding are flagged`,
    async () => {
      using gpu = await Gpu.open({ maxBindingBytes: 512 });
      for (const at of [0, 255, 256, 999, 1000]) {
        assertEquals(await flagsOf(gpu, values, { count: 1001, at, half }), want);
      }
    },
  );
}

/** The products of a token of the transformer of size B, each alone, with weights that come from memory. @module */

import { gemv, servesTexels } from "../kernels/gemv.ts";
import type { Gpu } from "../kernels/gpu.ts";
import type { Slice } from "../kernels/slice.ts";
import { measureTime } from "./rate.ts";

/** A product with a row for each half of the guidance. */
interface Product {
  name: string;
  inputs: number;
  outputs: number;
  /** Whether two arrays of weights of this size are multiplied at once. */
  paired: boolean;
  /** Times a token. */
  times: number;
}

const PRODUCTS: readonly Product[] = [
  { name: "query, key, value", inputs: 1024, outputs: 3072, paired: false, times: 16 },
  { name: "attention's output", inputs: 1024, outputs: 1024, paired: false, times: 16 },
  { name: "gate and map of SwiGLU", inputs: 1024, outputs: 2816, paired: true, times: 16 },
  { name: "map behind SwiGLU", inputs: 2816, outputs: 1024, paired: false, times: 16 },
  { name: "head", inputs: 1024, outputs: 16384, paired: false, times: 1 },
];
/** Weights that are read in turn: together more than caches hold. */
const BYTES_IN_TURN = 2 ** 27;
const ROWS = 2;

/** What a product takes, in milliseconds. */
export interface ProductTime {
  /** What it is for, and its size. */
  name: string;
  /** Of the weights, which are read once. */
  bytes: number;
  /** Times a token. */
  times: number;
  /** Clock. */
  ms: number;
  /** Time that processors worked. */
  processorMs: number;
}

/**
 * Measures the products, one behind the other.
 *
 * @param gpu The device.
 * @param half Whether the weights are f16.
 * @returns A time for each.
 */
export async function measureProducts(gpu: Gpu, half: boolean): Promise<ProductTime[]> {
  const times: ProductTime[] = [];
  for (const product of PRODUCTS) {
    const { inputs, outputs, paired } = product;
    const bytes = inputs * outputs * (half ? 2 : 4);
    const source = gpu.acquire(bytes);
    gpu.clear(source);
    const count = 2 * Math.ceil(BYTES_IN_TURN / bytes / 2);
    const texels = servesTexels(gpu, { weight: { ...source, half }, inputs });
    const held = Array.from({ length: count }, (): Slice => {
      if (texels) return gpu.copyToTexels(source);
      const copy = gpu.acquire(bytes);
      gpu.copy(source, copy);
      return copy;
    });
    const weights = held.map((slice) => ({ ...slice, half }));
    const x = gpu.acquire(4 * ROWS * inputs), y = gpu.acquire(4 * ROWS * outputs);
    gpu.clear(x);
    let turn = 0;
    const next = (): Slice => weights[turn++ % count]!;
    const { ms, processorMs } = await measureTime(gpu, () =>
      gemv(gpu, {
        x,
        y,
        weight: next(),
        pair: paired ? next() : undefined,
        rows: ROWS,
        inputs,
        outputs,
      }));
    for (const slice of [source, ...held, x, y]) gpu.release(slice);
    times.push({
      name: `${product.name}, ${inputs} -> ${outputs}`,
      bytes: paired ? 2 * bytes : bytes,
      times: product.times,
      ms,
      processorMs,
    });
  }
  return times;
}

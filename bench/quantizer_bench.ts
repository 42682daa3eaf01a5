/**
 * Measures the quantizer with entropy loss: seconds, GFLOP/s and the peak memory of the process, codebook, gradient and both moments of
 * Adam included.
 *
 * ```
 * deno run -A bench/quantizer_bench.ts [--codes 262144] [--dimensions 256] [--tokens 256] [--runs 3] [--scale 0.1]
 * ```
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { Gpu } from "../kernels/gpu.ts";
import { ModuleContext } from "../nn/module.ts";
import { quantize } from "../nn/quantizer.ts";
import { Tape } from "../nn/tape.ts";
import { Parameter, type Tensor } from "../nn/tensor.ts";
import { QUANTIZER_PRODUCTS } from "./quantizer_products.ts";

const flags = parseArgs(Deno.args, {
  string: ["codes", "dimensions", "tokens", "runs", "scale"],
  default: { codes: "262144", dimensions: "256", tokens: "256", runs: "3", scale: "0.1" },
});
const [codes, dimensions, tokens, runs, scale] = [
  flags.codes,
  flags.dimensions,
  flags.tokens,
  flags.runs,
  flags.scale,
].map(Number) as [number, number, number, number, number];

/** Peak resident memory of this process, as Linux counts it. */
async function peakMemoryMiB(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return Math.round(Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? NaN) / 1024);
}

async function seconds(body: () => Tensor): Promise<number> {
  const start = performance.now();
  const result = body();
  await result.tape.gpu.settle();
  return (performance.now() - start) / 1000;
}

function report(what: string, times: number[], products: number): void {
  const best = Math.min(...times);
  const rate = 2 * products * tokens * codes * dimensions / best / 1e9;
  console.log(
    `${what.padEnd(9)} ${best.toFixed(3)} s best of ${times.length} (${
      times.map((time) => time.toFixed(3)).join(" ")
    }), ${rate.toFixed(1)} GFLOP/s over ${products} products`,
  );
}

using gpu = await Gpu.open();
const context = new ModuleContext(gpu, 1);
const normal = (shape: readonly number[], standardDeviation: number): Parameter =>
  context.parameter(shape, { kind: "normal", standardDeviation });
using codebook = normal([codes, dimensions], 1);
using latents = normal([tokens, dimensions], scale);
using upstream = normal([tokens, dimensions], 1);
using firstMoment = new Parameter(gpu, codebook.shape);
using secondMoment = new Parameter(gpu, codebook.shape);
for (const moment of [firstMoment, secondMoment]) gpu.clear(moment.storage);
await gpu.settle();
console.log(
  `${gpu.adapter.name}: ${tokens} tokens, ${codes} codes of ${dimensions}; before: ${await peakMemoryMiB()} MiB`,
);
const forward: number[] = [];
const backward: number[] = [];
for (let run = 0; run < runs; run++) {
  using tape = new Tape(gpu);
  const z = tape.constant(latents);
  let quantized: ReturnType<typeof quantize> | undefined;
  forward.push(
    await seconds(() => (quantized = quantize(z, codebook, { useEntropyLoss: true })).zq),
  );
  const { zq, entropyLoss } = quantized!;
  backward.push(
    await seconds(() => {
      const gradients = tape.grad(zq, [z, codebook], { gradient: tape.constant(upstream) });
      return gradients.get(z)!;
    }),
  );
  if (run === 0) console.log(`entropy loss ${(await entropyLoss!.read())[0]}`);
}
report("forward", forward, QUANTIZER_PRODUCTS.forward);
report("backward", backward, QUANTIZER_PRODUCTS.backward);
console.log(`peak memory ${await peakMemoryMiB()} MiB`);

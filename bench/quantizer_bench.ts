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
import { add } from "../nn/math.ts";
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

/** Processor seconds of this process so far, all threads together, which other jobs of the machine do not lengthen much. */
async function processorSeconds(): Promise<number> {
  const stat = await Deno.readTextFile("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Wall-clock and processor seconds of one run. */
interface Duration {
  wall: number;
  processor: number;
}

async function measure(gpu: Gpu, body: () => void): Promise<Duration> {
  const processor = await processorSeconds();
  const start = performance.now();
  body();
  await gpu.settle();
  const wall = (performance.now() - start) / 1000;
  return { wall, processor: await processorSeconds() - processor };
}

function report(what: string, runs: Duration[], products: number): void {
  const best = Math.min(...runs.map(({ wall }) => wall));
  const processor = Math.min(...runs.map((run) => run.processor));
  const rate = 2 * products * tokens * codes * dimensions / best / 1e9;
  console.log(
    `${what.padEnd(9)} ${best.toFixed(3)} s best of ${runs.length} (${
      runs.map(({ wall }) => wall.toFixed(3)).join(" ")
    }), ${rate.toFixed(1)} GFLOP/s over ${products} products, ${
      processor.toFixed(2)
    } s of processors`,
  );
}

using gpu = await Gpu.open();
const context = new ModuleContext(gpu, 1);
const normal = (shape: readonly number[], standardDeviation: number): Parameter =>
  context.parameter(shape, { kind: "normal", standardDeviation });
using codebook = normal([codes, dimensions], 1);
using latents = normal([tokens, dimensions], scale);
using firstMoment = new Parameter(gpu, codebook.shape);
using secondMoment = new Parameter(gpu, codebook.shape);
for (const moment of [firstMoment, secondMoment]) gpu.clear(moment.storage);
await gpu.settle();
console.log(
  `${gpu.adapter.name}: ${tokens} tokens, ${codes} codes of ${dimensions}; before: ${await peakMemoryMiB()} MiB`,
);
const forward: Duration[] = [];
const backward: Duration[] = [];
for (let run = 0; run < runs; run++) {
  using tape = new Tape(gpu);
  const z = tape.constant(latents);
  let loss: Tensor | undefined;
  forward.push(
    await measure(gpu, () => {
      const { quantLoss, entropyLoss } = quantize(z, codebook, { useEntropyLoss: true });
      loss = add(quantLoss, entropyLoss!);
    }),
  );
  backward.push(await measure(gpu, () => tape.grad(loss!, [z, codebook])));
  if (run === 0) console.log(`loss ${(await loss!.read())[0]}`);
}
report("forward", forward, QUANTIZER_PRODUCTS.forward);
report("backward", backward, QUANTIZER_PRODUCTS.backward);
console.log(`peak memory ${await peakMemoryMiB()} MiB`);

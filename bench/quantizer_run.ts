/** One run of the quantizer with entropy loss: seconds, GFLOP/s, and the peak memory of the process. @module */

import { Gpu } from "../kernels/gpu.ts";
import { measurePeaks } from "../kernels/peaks.ts";
import { LOGIT_BYTES, logitPlan, quantizerProducts } from "../kernels/quantizer_plan.ts";
import { add } from "../nn/math.ts";
import { ModuleContext } from "../nn/module.ts";
import { quantize } from "../nn/quantizer.ts";
import { Tape } from "../nn/tape.ts";
import type { Tensor } from "../nn/tensor.ts";
import { profileTable } from "../train/profile_report.ts";
import { linearPasses } from "./matmul_bench.ts";
import { measureRate, measureTime } from "./rate.ts";

/** What is quantized. */
export interface QuantizerCase {
  /** Entries of the codebook. */
  codes: number;
  /** Numbers of a code. */
  dimensions: number;
  /** Tokens. */
  tokens: number;
  /** Standard deviation of the tokens; that of the codes is 1. */
  scale: number;
  /** `forward` without gradients, or `both` passes. */
  pass: "forward" | "both";
}

/** Wall-clock and processor seconds. */
export interface Duration {
  /** From start to end. */
  wall: number;
  /** Of all threads together, which other jobs of the machine do not lengthen much. */
  processor: number;
}

/** What a run took, ours or the reference's. */
export interface QuantizerReport {
  /** The forward. */
  forward: Duration;
  /** The backward, if there was one. */
  backward?: Duration;
  /** The loss, to see that the same was computed. */
  loss: number;
  /** Peak resident memory of the process. */
  memoryMiB: number;
  /** The same again in the process, all kernels compiled and all memory touched, and large products. Ours alone. */
  again?: {
    /** The forward. */
    forward: Duration;
    /** The backward, if there was one. */
    backward?: Duration;
    /** Billions of operations a second of each of {@linkcode LARGE_PRODUCTS}, by wall clock and by processor time. */
    products: { wall: number; processor: number }[];
  };
}

/** Rows, inputs and outputs of the products that the quantizer's are measured against. */
export const LARGE_PRODUCTS = [[1024, 1024, 1024], [2048, 256, 16384]] as const;

/** Peak resident memory of this process, as Linux counts it. */
async function peakMemoryMiB(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return Math.round(Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? NaN) / 1024);
}

/** Processor seconds of this process so far, all threads together. */
async function processorSeconds(): Promise<number> {
  const stat = await Deno.readTextFile("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(gpu: Gpu, body: () => void): Promise<Duration> {
  const processor = await processorSeconds();
  const start = performance.now();
  body();
  await gpu.settle();
  const wall = (performance.now() - start) / 1000;
  return { wall, processor: await processorSeconds() - processor };
}

/** The passes of a case, to be called once, in order. */
interface Passes {
  forward: () => void;
  backward: (() => void) | undefined;
  /** Reads the loss. */
  loss: () => Promise<number>;
}

/** Lets a body call the passes on a tape of their own. */
type WithPasses = <Result>(body: (passes: Passes) => Promise<Result>) => Promise<Result>;

/** Opens the device, makes random operands, and gives everything back behind the body. */
async function withOperands<Result>(
  { codes, dimensions, tokens, scale, pass }: QuantizerCase,
  body: (gpu: Gpu, withPasses: WithPasses) => Promise<Result>,
): Promise<Result> {
  using gpu = await Gpu.open();
  const context = new ModuleContext(gpu, 1);
  using codebook = context.parameter([codes, dimensions], {
    kind: "normal",
    standardDeviation: 1,
  });
  using latents = context.parameter([tokens, dimensions], {
    kind: "normal",
    standardDeviation: scale,
  });
  await gpu.settle();
  return await body(gpu, async (callPasses) => {
    using tape = new Tape(gpu, { record: pass === "both" });
    const z = tape.constant(latents);
    let loss: Tensor | undefined;
    return await callPasses({
      forward: () => {
        const { quantLoss, entropyLoss } = quantize(z, codebook, { useEntropyLoss: true });
        loss = add(quantLoss, entropyLoss!);
        tape.retain(loss);
      },
      backward: pass === "both"
        ? () => void tape.grad(loss!, [z, codebook], { last: true })
        : undefined,
      loss: async () => (await loss!.read())[0] ?? NaN,
    });
  });
}

async function measurePasses(
  gpu: Gpu,
  passes: Passes,
): Promise<Pick<QuantizerReport, "forward" | "backward">> {
  const forward = await measure(gpu, passes.forward);
  const backward = passes.backward && await measure(gpu, passes.backward);
  return { forward, ...(backward && { backward }) };
}

/**
 * Runs a case on new random numbers, and then again. For its memory to count, it must be the first of its process.
 *
 * @param options The case.
 * @returns What it took, compilation of the kernels included, and what it took when it ran again.
 */
export async function runQuantizer(options: QuantizerCase): Promise<QuantizerReport> {
  return await withOperands(options, async (gpu, withPasses) => {
    const first = await withPasses(async (passes) => ({
      ...await measurePasses(gpu, passes),
      loss: await passes.loss(),
      memoryMiB: await peakMemoryMiB(),
    }));
    const again = await withPasses((passes) => measurePasses(gpu, passes));
    const products = [];
    for (const sizes of LARGE_PRODUCTS) {
      using product = linearPasses(gpu, sizes);
      const { gflops, quietGflops } = await measureRate(
        gpu,
        product.operations,
        product.record.forward!,
      );
      products.push({ wall: gflops, processor: quietGflops });
    }
    return { ...first, again: { ...again, products } };
  });
}

/**
 * Runs a case twice and measures every dispatch of the second time.
 *
 * @param options The case.
 * @returns For each pass, a table of its kernels.
 * @throws {GpuError} If the adapter cannot measure.
 */
export async function profileQuantizer(options: QuantizerCase): Promise<string> {
  return await withOperands(options, async (gpu, withPasses) => {
    const peaks = await measurePeaks(
      gpu,
      async (record) => (await measureTime(gpu, record)).ms,
    );
    await withPasses((passes) => measurePasses(gpu, passes));
    return await withPasses(async (passes) => {
      const tables: string[] = [];
      for (const name of ["forward", "backward"] as const) {
        const pass = passes[name];
        if (!pass) continue;
        gpu.startProfile();
        pass();
        const context = { adapter: gpu.adapter.name, peaks, steps: 1 };
        tables.push(`${name}\n${profileTable(await gpu.finishProfile(), context)}`);
      }
      return tables.join("\n\n");
    });
  });
}

/**
 * Counts the operations of a case.
 *
 * @param options The case.
 * @returns Matrix products of tokens, codes and dimensions in each pass, and floating-point operations of one product.
 */
export async function operationsOf(
  options: QuantizerCase,
): Promise<{ forward: number; backward: number; product: number }> {
  using gpu = await Gpu.open();
  const { codes, dimensions, tokens: rows } = options;
  const plan = logitPlan(gpu, { rows, codes, dimensions }, LOGIT_BYTES);
  return { ...quantizerProducts(plan), product: 2 * rows * codes * dimensions };
}

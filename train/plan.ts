/** The memory of a training step, known before it is spent: the step runs on a device that has sizes and no memory. @module */

import { Gpu } from "../kernels/gpu.ts";
import type { MemoryUses } from "../kernels/pool.ts";
import type { Dispatch } from "../kernels/recorder.ts";
import { bytesOf } from "../nn/tensor.ts";
import { UserError } from "./errors.ts";
import { openTrainingStep, type StepRun } from "./training_step.ts";

/** What a training step takes. */
export interface StepPlan {
  /** Images of a batch. */
  readonly batchSize: number;
  /** Parameters and their bytes by module. */
  readonly modules: ReadonlyMap<string, { readonly count: number; readonly bytes: number }>;
  /** Bytes of all buffers, those included that wait for reuse, at the moment at which they are most. */
  readonly peakBytes: number;
  /** Bytes in use by what they hold. */
  readonly uses: MemoryUses;
  /** Bytes that are in use at once, at most: less than that, and the step cannot run. */
  readonly neededBytes: number;
  /** Bytes of the largest buffer. */
  readonly largestBufferBytes: number;
  /** Bytes of the largest binding. */
  readonly largestBindingBytes: number;
  /** Dispatches of a step. */
  readonly dispatches: readonly Dispatch[];
  /** Bytes that a step copies on the device. */
  readonly copiedBytes: number;
}

/** What there is. */
export interface MemoryLimits {
  /** The adapter's largest buffer. */
  readonly bufferBytes: number;
  /** The adapter's largest binding. */
  readonly bindingBytes: number;
  /** All buffers together. */
  readonly totalBytes: number;
}

/** One limit, and what a step needs of it. */
export interface LimitCheck {
  /** What is limited. */
  readonly name: "largest buffer" | "largest binding" | "in all";
  /** Needed bytes. */
  readonly neededBytes: number;
  /** Available bytes. */
  readonly limitBytes: number;
  /** Whether it fits. */
  readonly fits: boolean;
}

/** What the host takes besides once steps run: compiled shaders, records of dispatches. Measured from 10⁵ to 10⁸ parameters alike. */
const HOST_GROWTH_BYTES = 200 * 2 ** 20;

/** The largest batch that is tried. */
const LARGEST_BATCH = 4096;
/** Steps of a dry run: the second finds the pool that the first has filled. */
const STEPS = 2;

/**
 * Plans a training step.
 *
 * @param gpu The device that it is for; nothing is taken from it.
 * @param run The configuration.
 * @param batchSize Images of a batch.
 * @returns What the step takes on that device.
 * @throws {UserError} If it is not a configuration that trains.
 * @throws {RangeError} If an op cannot divide its work so that the device's bindings hold it.
 */
export async function planStep(gpu: Gpu, run: StepRun, batchSize: number): Promise<StepPlan> {
  const dispatches: Dispatch[] = [];
  let largestBindingBytes = 0;
  using dry = Gpu.dry(gpu, {
    onDispatch: (dispatch) => {
      dispatches.push(dispatch);
      for (const { bytes, texture } of Object.values(dispatch.buffers)) {
        if (!texture) largestBindingBytes = Math.max(largestBindingBytes, bytes);
      }
    },
  });
  using step = openTrainingStep(dry, run, batchSize);
  const modules = new Map([...step.modules].map(([name, parameters]) => {
    const sum = (value: (shape: readonly number[]) => number): number =>
      parameters.reduce((total, { shape }) => total + value(shape), 0);
    return [name, {
      count: sum((shape) => bytesOf(shape, "f32") / 4),
      bytes: sum((shape) => bytesOf(shape, "f32")),
    }];
  }));
  // While an optimizer is made its parameters are there twice, which is less than a step takes.
  dry.restartPeaks();
  let copiedBytes = 0;
  for (let number = 0; number < STEPS; number++) {
    dispatches.length = 0;
    copiedBytes = dry.stats().copiedBytes;
    await step.run(number);
  }
  const { peakBytes, peakLiveBytes, largestBufferBytes, copiedBytes: allCopiedBytes } = dry.stats();
  return {
    batchSize,
    modules,
    peakBytes,
    uses: dry.memoryUses,
    neededBytes: peakLiveBytes,
    largestBufferBytes,
    largestBindingBytes,
    dispatches,
    copiedBytes: allCopiedBytes - copiedBytes,
  };
}

/**
 * Compares a plan with what there is.
 *
 * @param plan The plan.
 * @param limits What there is.
 * @returns Every limit.
 */
export function checkPlan(plan: StepPlan, limits: MemoryLimits): LimitCheck[] {
  const check = (
    name: LimitCheck["name"],
    neededBytes: number,
    limitBytes: number,
  ): LimitCheck => ({ name, neededBytes, limitBytes, fits: neededBytes <= limitBytes });
  return [
    check("largest buffer", plan.largestBufferBytes, limits.bufferBytes),
    check("largest binding", plan.largestBindingBytes, limits.bindingBytes),
    check("in all", plan.neededBytes, limits.totalBytes),
  ];
}

/**
 * Tells what a device can hold.
 *
 * @param gpu The device.
 * @param totalBytes What all buffers may take together; WebGPU does not say.
 * @returns The limits.
 */
export function limitsOf(gpu: Gpu, totalBytes: number): MemoryLimits {
  const { maxBindingBytes, limits } = gpu;
  return { bufferBytes: limits.maxBufferSize, bindingBytes: maxBindingBytes, totalBytes };
}

/**
 * Says what the process will take on an adapter that lives in the process's memory.
 *
 * @param plan The plan.
 * @param hostBytes What the process takes once the device is open.
 * @returns Bytes.
 */
export function processBytes({ peakBytes }: StepPlan, hostBytes: number): number {
  return peakBytes + hostBytes + HOST_GROWTH_BYTES;
}

/** Whether a batch fits. */
async function fits(
  gpu: Gpu,
  run: StepRun,
  batchSize: number,
  limits: MemoryLimits,
): Promise<boolean> {
  return checkPlan(await planStep(gpu, run, batchSize), limits).every(({ fits }) => fits);
}

/**
 * Finds the largest batch that fits.
 *
 * @param gpu The device.
 * @param run The configuration.
 * @param options What there is, and the largest batch of interest.
 * @returns Images of a batch; 0 if not even one fits.
 */
export async function largestBatch(
  gpu: Gpu,
  run: StepRun,
  { limits, most = LARGEST_BATCH }: { limits: MemoryLimits; most?: number },
): Promise<number> {
  let good = 0;
  let bad = most + 1;
  for (let tried = 1; tried < bad; tried = Math.min(2 * tried, most)) {
    if (await fits(gpu, run, tried, limits)) good = tried;
    else bad = tried;
    if (good === most) return most;
  }
  while (bad - good > 1) {
    const middle = good + bad >> 1;
    if (await fits(gpu, run, middle, limits)) good = middle;
    else bad = middle;
  }
  return good;
}

/** Settings that spare memory, as a command line takes them, and the run with them. */
export interface Remedy {
  /** Texts `key=value`. */
  readonly overrides: readonly string[];
  /** The run. */
  readonly run: StepRun;
  /** Images of a batch. */
  readonly batchSize: number;
}

/**
 * Finds settings with which a step fits that does not fit as it is: values computed again, which learns the same; smaller batches
 * whose gradients are averaged, where batch norm and the entropy over a batch see less at a time; activations in half the bytes. What
 * changes least comes first.
 *
 * @param gpu The device.
 * @param run The configuration.
 * @param options Images of a batch, and what there is.
 * @returns The first settings that fit; undefined if none do.
 */
export async function findRemedy(
  gpu: Gpu,
  run: StepRun,
  { batchSize, limits }: { batchSize: number; limits: MemoryLimits },
): Promise<Remedy | undefined> {
  const halves = gpu.features.has("shader-f16") && run.config.trainer.precision === "f32";
  for (const half of halves ? [false, true] : [false]) {
    const precise: Remedy = half
      ? {
        overrides: ["trainer.precision=f16"],
        run: withTrainer(run, { precision: "f16" }),
        batchSize,
      }
      : { overrides: [], run, batchSize };
    const recomputed = checkpoints(precise);
    const most = recomputed.at(-1)!;
    const both = smallerBatches(most);
    // The settings that spare most, as sums of gradients may outweigh the activations of a batch: without them none does.
    const strongest = [most, ...both.slice(-1)];
    if (!await firstThatFits(gpu, strongest, limits)) continue;
    const candidates = [
      ...(half ? [precise] : []),
      ...recomputed,
      ...smallerBatches(precise),
      ...both,
    ];
    const found = await firstThatFits(gpu, candidates, limits);
    if (found) return found;
  }
  return undefined;
}

async function firstThatFits(
  gpu: Gpu,
  candidates: readonly Remedy[],
  limits: MemoryLimits,
): Promise<Remedy | undefined> {
  for (const candidate of candidates) {
    if (await fits(gpu, candidate.run, candidate.batchSize, limits)) return candidate;
  }
  return undefined;
}

/** The same run with more and more levels, or half and all of the blocks, computed again. */
function checkpoints({ overrides, run, batchSize }: Remedy): Remedy[] {
  if (run.stage === "transformer") {
    const { nLayer } = run.gpt;
    return [Math.ceil(nLayer / 2), nLayer].map((count) => ({
      overrides: [
        ...overrides,
        `model.init_args.transformer_config.params.checkpoint_blocks=${count}`,
      ],
      run: { ...run, gpt: { ...run.gpt, checkpointBlocks: count } },
      batchSize,
    }));
  }
  const { model } = run.config;
  const { ddconfig } = model.params;
  return ddconfig.chMult.map((_, last) => {
    const levels = Array.from({ length: last + 1 }, (_, level) => level);
    const params = { ...model.params, ddconfig: { ...ddconfig, checkpointLevels: levels } };
    return {
      overrides: [
        ...overrides,
        `model.init_args.ddconfig.checkpoint_levels=[${levels}]`,
      ],
      run: { ...run, config: { ...run.config, model: { ...model, params } } },
      batchSize,
    };
  });
}

/** The same images a step in more and more batches. */
function smallerBatches({ overrides, run, batchSize }: Remedy): Remedy[] {
  const { accumulateGradBatches } = run.config.trainer;
  const found: Remedy[] = [];
  for (let parts = 2; parts <= batchSize; parts++) {
    if (batchSize % parts !== 0) continue;
    const accumulate = accumulateGradBatches * parts;
    found.push({
      overrides: [
        ...overrides,
        `data.init_args.batch_size=${batchSize / parts}`,
        `trainer.accumulate_grad_batches=${accumulate}`,
      ],
      run: withTrainer(run, { accumulateGradBatches: accumulate }),
      batchSize: batchSize / parts,
    });
  }
  return found;
}

function withTrainer(run: StepRun, changes: Partial<StepRun["config"]["trainer"]>): StepRun {
  const trainer = { ...run.config.trainer, ...changes };
  return run.stage === "tokenizer"
    ? { ...run, config: { ...run.config, trainer } }
    : { ...run, config: { ...run.config, trainer } };
}

/**
 * Replaces a batch size that is to be found by the largest that fits.
 *
 * @param gpu The device; what lives on it already counts.
 * @param run The configuration.
 * @param options What buffers may take in all, and the number of images that there are.
 * @returns Images of a batch.
 * @throws {UserError} If not even one image fits.
 */
export async function resolveBatchSize(
  gpu: Gpu,
  run: StepRun,
  { totalBytes, images }: { totalBytes: number; images: number },
): Promise<number> {
  const { batchSize } = run.config.data.params;
  if (batchSize !== "auto") return batchSize;
  const free = totalBytes - gpu.stats().liveBytes;
  const found = await largestBatch(gpu, run, { limits: limitsOf(gpu, free), most: images });
  if (found > 0) return found;
  throw new UserError(
    `Cannot choose a batch size for ${run.file}: expected ${
      (free / 2 ** 30).toFixed(2)
    } GiB to hold one image, found that they do not; deno task plan shows what takes how much`,
  );
}

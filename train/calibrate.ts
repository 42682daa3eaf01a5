/** How long recorded dispatches take on an adapter, from short measurements of those that count most. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { Dispatch } from "../kernels/recorder.ts";
import type { Slice } from "../kernels/slice.ts";

/** What a step makes a device do. */
export interface StepWork {
  /** What it records. */
  readonly dispatches: readonly Dispatch[];
  /** Bytes that it copies on the device, such as inputs into textures. */
  readonly copiedBytes: number;
}

/** A time, and how much of it was measured. */
export interface TimeEstimate {
  /** Seconds of all dispatches. */
  readonly seconds: number;
  /** Share of them whose own kernel and sizes were measured; the rest follows from the rates of the measured ones. */
  readonly measuredShare: number;
}

/** Equal dispatches. */
interface Group {
  readonly dispatch: Dispatch;
  /** Their number. */
  count: number;
  /** What one of them costs, in an arbitrary unit. */
  readonly weight: number;
  /** Milliseconds of one of them, once measured. */
  ms?: number;
}

/** A byte moved costs about as much as so many operations of a product; it only decides what is measured first. */
const OPERATIONS_OF_A_BYTE = 8;
/** Times of a dispatch that its time is the best of, if it is short; two if it is long. */
const REPETITIONS = 4;
const SHORT_MS = 20;
/** What is copied to learn how fast that is, and how often in a row. */
const COPIED_BYTES = 2 ** 24;
const COPIES = 8;
/** Parts of a product, of which one is measured if it takes long enough. */
const PARTS = 16;
const LONG_MS = 20;
/** Dispatches in a row from which it is learned what one costs besides its work. */
const ROW = 100;

/**
 * Kernels that run in the same time whatever their buffers hold. Others follow indices that they find there, and those of made-up
 * buffers could lead them anywhere.
 */
const STEADY: ReadonlySet<string> = new Set([
  ..."activation attention attention_dots batch_norm broadcast chunk_sums elementwise flash_attention"
    .split(" "),
  ..."group_norm optim pooling random_mask reduce resample rotary row_norm softmax standardize swiglu"
    .split(" "),
  "unit_length",
]);

/**
 * Estimates the time of a step.
 *
 * @param gpu The device; it runs the costliest of them on zeros.
 * @param work Dispatches and copies of the step.
 * @param options `budgetMs`: how long it measures, about, shaders excepted. Default 5000.
 * @returns The time.
 * @throws {GpuError} If the adapter cannot measure.
 */
export async function estimateTime(
  gpu: Gpu,
  { dispatches, copiedBytes }: StepWork,
  { budgetMs = 5000 }: { budgetMs?: number } = {},
): Promise<TimeEstimate> {
  gpu.requireTimestamps();
  const groups = groupsOf(dispatches).sort((a, b) => b.count * b.weight - a.count * a.weight);
  let spent = 0;
  for (const group of groups) {
    if (spent > budgetMs) break;
    if (!isSteady(group.dispatch)) continue;
    const timed = await timeOf(gpu, group.dispatch);
    group.ms = timed.ms;
    spent += timed.spentMs;
  }
  const measured = groups.filter(({ ms }) => ms !== undefined);
  const cheapest = measured.toSorted((a, b) => a.ms! - b.ms!).at(0);
  const overheadMs = cheapest ? await overheadOf(gpu, cheapest) : 0;
  gpu.trim();
  const rateOf = (like: Group): number => {
    const same = (a: Group): boolean => a.dispatch.kernel.name === like.dispatch.kernel.name;
    const kind = (a: Group): boolean => isProduct(a.dispatch) === isProduct(like.dispatch);
    const peers = [same, kind].map((test) => measured.filter(test)).find((list) => list.length > 0);
    const sum = (value: (group: Group) => number): number =>
      (peers ?? measured).reduce((total, group) => total + group.count * value(group), 0);
    return sum(({ ms }) => ms!) / sum(({ weight }) => weight);
  };
  let knownMs = 0;
  let otherMs = 0;
  for (const group of groups) {
    if (group.ms !== undefined) knownMs += group.count * group.ms;
    else otherMs += group.count * group.weight * rateOf(group);
  }
  const allMs = knownMs + otherMs;
  return {
    seconds: (allMs + overheadMs * dispatches.length) / 1000 +
      copiedBytes * await secondsOfCopiedByte(gpu),
    measuredShare: knownMs / allMs,
  };
}

/** Seconds that a byte takes into a texture, or into a buffer where the adapter uses no textures. */
async function secondsOfCopiedByte(gpu: Gpu): Promise<number> {
  const source = gpu.acquire(COPIED_BYTES, "a calibration");
  const target = gpu.acquire(COPIED_BYTES, "a calibration");
  gpu.clear(source);
  let seconds = Infinity;
  for (let i = 0; i < REPETITIONS; i++) {
    await gpu.settle();
    const startMs = performance.now();
    for (let copy = 0; copy < COPIES; copy++) {
      if (gpu.leastTexelBytes <= COPIED_BYTES) gpu.release(gpu.copyToTexels(source));
      else gpu.copy(source, target);
    }
    await gpu.settle();
    seconds = Math.min(seconds, (performance.now() - startMs) / 1000);
  }
  gpu.release(source);
  gpu.release(target);
  return seconds / (COPIES * COPIED_BYTES);
}

/** Milliseconds of a dispatch, and of all measurements for it. */
async function timeOf(gpu: Gpu, dispatch: Dispatch): Promise<{ ms: number; spentMs: number }> {
  let spentMs = 0;
  const best = async (wanted: Dispatch): Promise<number> => {
    const times: number[] = [];
    let ms: number;
    // The first may compile a shader.
    do {
      times.push(await measure(gpu, wanted));
      ms = Math.min(...times);
      spentMs += times.at(-1)!;
    } while (times.length < 2 || (ms < SHORT_MS && times.length < REPETITIONS));
    return ms;
  };
  if (isProduct(dispatch) && hasOwnWork(dispatch)) {
    const part = partOf(dispatch);
    const partMs = await best(part.dispatch);
    // So long a part keeps every core busy: the others take as long.
    if (partMs >= LONG_MS) return { ms: partMs / part.share, spentMs };
  }
  return { ms: await best(dispatch), spentMs };
}

/** Whether each workgroup has work of its own, however many there are, so that a part of them does a part of the work. */
function hasOwnWork({ kernel }: Dispatch): boolean {
  return !kernel.source.includes("num_workgroups");
}

/** A product with a part of its workgroups, each of which does the same. */
function partOf(dispatch: Dispatch): { dispatch: Dispatch; share: number } {
  const [x = 1, y = 1, z = 1] = dispatch.workgroups;
  const counts: [number, number, number] = [x, y, z];
  const axis = counts.indexOf(Math.max(...counts));
  const part = Math.ceil(counts[axis]! / PARTS);
  const share = part / counts[axis]!;
  counts[axis] = part;
  return { dispatch: { ...dispatch, workgroups: counts }, share };
}

function isProduct({ work }: Dispatch): boolean {
  return work?.operations !== undefined;
}

function isSteady(dispatch: Dispatch): boolean {
  return isProduct(dispatch) || STEADY.has(dispatch.kernel.name);
}

function groupsOf(dispatches: readonly Dispatch[]): Group[] {
  const groups = new Map<string, Group>();
  for (const dispatch of dispatches) {
    const { kernel, entryPoint, constants, params, workgroups, buffers, work } = dispatch;
    const sizes = Object.values(buffers).map(({ bytes }) => bytes);
    const key = JSON.stringify([kernel.name, entryPoint, constants, params, workgroups, sizes]);
    const known = groups.get(key);
    if (known) known.count++;
    else {
      const bytes = work?.bytes ?? sizes.reduce((sum, size) => sum + size, 0);
      const weight = Math.max(work?.operations ?? 0, OPERATIONS_OF_A_BYTE * bytes);
      groups.set(key, { dispatch, count: 1, weight });
    }
  }
  return [...groups.values()];
}

/** Runs a dispatch on buffers of zeros; milliseconds by the device's clock. */
async function measure(gpu: Gpu, dispatch: Dispatch): Promise<number> {
  using bound = bind(gpu, dispatch);
  gpu.startProfile();
  bound.run();
  const { dispatches } = await gpu.finishProfile();
  return dispatches.reduce((sum, { durationMs }) => sum + durationMs, 0);
}

/** Milliseconds that a dispatch takes on the host and the device beside its own, in a row of many. */
async function overheadOf(gpu: Gpu, { dispatch, ms }: Group): Promise<number> {
  using bound = bind(gpu, dispatch);
  let least = Infinity;
  for (let i = 0; i < REPETITIONS; i++) {
    await gpu.settle();
    const startMs = performance.now();
    for (let run = 0; run < ROW; run++) bound.run();
    await gpu.settle();
    least = Math.min(least, performance.now() - startMs);
  }
  return Math.max(0, least / ROW - (ms ?? 0));
}

/** A dispatch with buffers of zeros of its own. */
function bind(gpu: Gpu, dispatch: Dispatch): Disposable & { readonly run: () => void } {
  const { kernel, entryPoint, constants, params, workgroups, work } = dispatch;
  const buffers: Record<string, Slice> = {};
  const acquired: Slice[] = [];
  for (const [name, { bytes, half = false, texture }] of Object.entries(dispatch.buffers)) {
    const buffer = { ...gpu.acquire(bytes, "a calibration"), half };
    gpu.clear(buffer);
    buffers[name] = texture ? gpu.copyToTexels(buffer) : buffer;
    acquired.push(buffer, ...(texture ? [buffers[name]] : []));
  }
  const options = { buffers, constants, params, workgroups, ...(work && { work }) };
  return {
    run: () => gpu.run(kernel, entryPoint, options),
    [Symbol.dispose]: () => acquired.forEach((slice) => gpu.release(slice)),
  };
}

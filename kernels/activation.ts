/** Launchers of activation.wgsl: functions of one element and their gradients, on arrays of any size, all f32 or all f16. @module */

import source from "./activation.wgsl" with { type: "text" };
import common from "./common.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import { defineKernel } from "./kernel.ts";
import { elementBytes, elementCount, type Slice, sliceRows, splitRows } from "./slice.ts";
import special from "./special.wgsl" with { type: "text" };

const kernel = defineKernel("activation", common, special, source);

/** Name of a function of one element. */
export type ActivationName =
  | "silu"
  | "leakyRelu"
  | "geluTanh"
  | "geluErf"
  | "sigmoid"
  | "softplus"
  | "abs"
  | "square"
  | "clamp";

/** `KIND` of each function in activation.wgsl. */
const KINDS: Readonly<Record<ActivationName, number>> = {
  silu: 0,
  leakyRelu: 1,
  geluTanh: 2,
  geluErf: 3,
  sigmoid: 4,
  softplus: 5,
  abs: 6,
  square: 7,
  clamp: 8,
};

/** A function of one element. */
export interface Activation {
  /** Which. */
  name: ActivationName;
  /** `leakyRelu`: slope at and below 0; `clamp`: the minimum. */
  alpha?: number;
  /** `clamp`: the maximum. */
  beta?: number;
}

function launch(
  gpu: Gpu,
  entryPoint: string,
  activation: Activation,
  buffers: Record<string, Slice>,
): void {
  const count = elementCount(buffers.x!);
  const bytes = elementBytes(buffers.x!);
  const operation = `activation.${activation.name}`;
  for (const range of splitRows(gpu, count, { rowBytes: [bytes], operation })) {
    const parts: Record<string, Slice> = {};
    for (const name in buffers) parts[name] = sliceRows(buffers[name]!, range, bytes);
    gpu.run(kernel, entryPoint, {
      buffers: parts,
      params: { count: range.count, alpha: activation.alpha ?? 0, beta: activation.beta ?? 0 },
      constants: { KIND: KINDS[activation.name] },
      threads: range.count,
    });
  }
}

/**
 * `y = f(x)`, element by element.
 *
 * @param gpu The device.
 * @param activation The function.
 * @param options Equally long `x` and `y`.
 */
export function activationForward(
  gpu: Gpu,
  activation: Activation,
  options: { x: Slice; y: Slice },
): void {
  launch(gpu, "forward", activation, { ...options });
}

/**
 * `dx = dy f'(x)`, element by element.
 *
 * @param gpu The device.
 * @param activation The function.
 * @param options Equally long `x`, `dy` and `dx`.
 */
export function activationBackward(
  gpu: Gpu,
  activation: Activation,
  options: { x: Slice; dy: Slice; dx: Slice },
): void {
  launch(gpu, "backward", activation, { ...options });
}

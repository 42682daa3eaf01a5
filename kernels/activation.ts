/** Launchers of activation.wgsl: functions of one element and their gradients, on arrays of any size, all f32 or all f16. @module */

import source from "./activation.wgsl" with { type: "text" };
import type { Gpu } from "./gpu.ts";
import type { Slice } from "./slice.ts";
import { defineSpanKernel, runSpans } from "./span.ts";

const kernel = defineSpanKernel("activation", source, { x: { binding: 1 }, dy: { binding: 2 } });

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
  const { name, alpha = 0, beta = 0 } = activation;
  runSpans(gpu, kernel, entryPoint, {
    buffers,
    params: { alpha, beta },
    constants: { KIND: KINDS[name] },
  });
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

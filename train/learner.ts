/** What the learners of both stages share. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { Tensor } from "../nn/tensor.ts";
import type { Sentinel } from "../nn/sentinel.ts";
import type { Precision } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { AnomalyError, type Metrics } from "./loop.ts";

/**
 * Reads scalars in one transfer. The copies are recorded by the call, so their tape may close at once.
 *
 * @param scalars Scalars of one tape by name.
 * @returns Their values by name.
 */
export function readScalars(scalars: Readonly<Record<string, Tensor>>): Promise<Metrics> {
  const names = Object.keys(scalars);
  const [first] = Object.values(scalars);
  if (!first) return Promise.resolve({});
  const reading = first.tape.gpu.read(Object.values(scalars).map(({ storage }) => storage));
  return reading.then((parts) =>
    Object.fromEntries(names.map((name, i) => [name, new Float32Array(parts[i]!)[0]!]))
  );
}

/**
 * Checks that an adapter can train with a precision.
 *
 * @param gpu The device.
 * @param precision The precision.
 * @throws {UserError} If that is f16 and the adapter lacks the feature `shader-f16`.
 */
export function assertPrecision(gpu: Gpu, precision: Precision): void {
  if (precision === "f32" || gpu.features.has("shader-f16")) return;
  throw new UserError(
    `Cannot train with precision f16: expected an adapter with the feature shader-f16, found ${gpu.adapter.name} without it; trainer.precision=f32 needs no such feature`,
  );
}

/**
 * Lets a step fail whose results are not all finite, unless its scale was too large and it was left out for that.
 *
 * @param metrics What the step gives.
 * @param sentinel Has seen the step's results; disposed here. Undefined to let everything pass.
 * @returns The same metrics.
 * @throws {AnomalyError} If a result is not finite.
 */
export async function guarded(
  metrics: Promise<Metrics>,
  sentinel: Sentinel | undefined,
): Promise<Metrics> {
  using seen = sentinel;
  const [values, operation] = await Promise.all([metrics, seen?.first()]);
  if (operation !== undefined && !("skipped_updates" in values)) throw new AnomalyError(operation);
  return values;
}

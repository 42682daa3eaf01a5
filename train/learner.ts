/** What the learners of both stages share. @module */

import type { Tensor } from "../nn/tensor.ts";
import type { Metrics } from "./loop.ts";

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

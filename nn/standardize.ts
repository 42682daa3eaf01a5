/** The fixed affine map that prepares images for a pretrained network. @module */

import { standardizeBackward, standardizeForward } from "../kernels/standardize.ts";
import { assertShape, type Operand, type Tensor } from "./tensor.ts";

/** Constants of {@linkcode standardize}. */
export interface Standardization {
  /** Subtracted first: one value a channel, in any shape that ends with the channels. */
  shift: Operand;
  /** Divides then; same shape as `shift`. */
  scale: Operand;
}

/**
 * `(x - shift) / scale`, channel by channel. Shift and scale are constants: no gradient flows to them.
 *
 * @param x Shape (…, channels).
 * @param constants Shift and scale.
 * @returns Same shape.
 * @throws {TypeError} If there is not one shift and one scale a channel.
 */
export function standardize(x: Tensor, constants: Standardization): Tensor {
  const { shift, scale } = constants;
  const channels = x.shape.at(-1) ?? 1;
  assertShape(scale, shift.shape, "standardize() scale");
  if (shift.shape.at(-1) !== channels || shift.storage.bytes !== 4 * channels) {
    throw new TypeError(
      `Cannot run standardize(): expected one shift for each of ${channels} channels, found shape [${shift.shape}]`,
    );
  }
  const { tape } = x;
  const size = { rows: x.size / channels, channels };
  const y = tape.alloc(x.shape, x.dtype);
  standardizeForward(
    tape.gpu,
    { x: x.storage, shift: shift.storage, scale: scale.storage, y: y.storage },
    size,
  );
  return tape.record("standardize", y, [x], (dy) => {
    const dx = tape.alloc(x.shape, x.dtype);
    standardizeBackward(
      tape.gpu,
      { dy: dy.storage, scale: scale.storage, dx: dx.storage },
      size,
    );
    return [dx];
  });
}

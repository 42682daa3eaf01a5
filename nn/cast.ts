/** Conversion of tensors between 32-bit and 16-bit floats. @module */

import { cast as launch } from "../kernels/cast.ts";
import type { DataType, Tensor } from "./tensor.ts";

/**
 * Converts the elements of a tensor: to the nearest f16, infinite where that is too large, or back to f32 exactly.
 *
 * @param x Any shape, f32 or f16.
 * @param dtype Wanted type.
 * @returns Same shape; `x` itself if it has the type already. Its gradient has the type of `x`.
 * @throws {TypeError} If either type is u32.
 */
export function cast(x: Tensor, dtype: DataType): Tensor {
  if (x.dtype === "u32" || dtype === "u32") {
    throw new TypeError(
      `Cannot run cast(): expected types f32 or f16, found ${x.dtype} and ${dtype}`,
    );
  }
  if (x.dtype === dtype) return x;
  const from = x.dtype;
  return x.tape.record("cast", converted(x, dtype), [x], (dy) => [converted(dy, from)]);
}

function converted(x: Tensor, dtype: DataType): Tensor {
  const y = x.tape.alloc(x.shape, dtype);
  launch(x.tape.gpu, { x: x.storage, y: y.storage });
  return y;
}

/** Pooling of images: maximum and average over windows. @module */

import {
  type Extent2d,
  poolingBackward,
  poolingForward,
  type PoolingSize,
} from "../kernels/pooling.ts";
import { dims, type Tensor } from "./tensor.ts";

/** Options of {@linkcode maxPool} and {@linkcode averagePool}. */
export interface PoolOptions {
  /** Height and width of a window. */
  kernel: number;
  /** Distance of two windows. Default: the kernel, so that they do not overlap. */
  stride?: number;
  /** Positions added on each side, at most half the kernel. Default 0. */
  padding?: number;
}

/** Options of {@linkcode averagePool}. */
export interface AveragePoolOptions extends PoolOptions {
  /** Whether padded positions count in the divisor. Default true. */
  includePadding?: boolean;
}

/**
 * Largest value of each window, channel by channel; padded positions never win.
 *
 * @param x Images, shape (batch, height, width, channels).
 * @param options Windows.
 * @returns Shape (batch, outputHeight, outputWidth, channels) with output = floor((size + 2 padding - kernel) / stride) + 1. The gradient
 * of a window goes to its first maximum in row-major order.
 * @throws {TypeError} If x does not have four axes.
 * @throws {RangeError} If no window fits, or the padding is more than half the kernel.
 */
export function maxPool(x: Tensor, options: PoolOptions): Tensor {
  return windowed("maxPool", x, { ...options, kind: "maximum" });
}

/**
 * Mean of each window, channel by channel.
 *
 * @param x Images, shape (batch, height, width, channels).
 * @param options Windows; padded positions are zeros.
 * @returns Shape as of {@linkcode maxPool}.
 * @throws {TypeError} If x does not have four axes.
 * @throws {RangeError} If no window fits, or the padding is more than half the kernel.
 */
export function averagePool(x: Tensor, options: AveragePoolOptions): Tensor {
  const { includePadding = true, ...windows } = options;
  return windowed("averagePool", x, {
    ...windows,
    kind: includePadding ? "average" : "averageWithoutPadding",
  });
}

/**
 * Mean over all positions of an image, channel by channel (adaptive average pooling to one position).
 *
 * @param x Images, shape (batch, height, width, channels).
 * @returns Shape (batch, 1, 1, channels).
 * @throws {TypeError} If x does not have four axes.
 */
export function globalAveragePool(x: Tensor): Tensor {
  const { height, width } = dims(x, "batch height width channels", "globalAveragePool()");
  return pool("globalAveragePool", x, {
    window: { height, width },
    stride: { height, width },
    padding: { height: 0, width: 0 },
    kind: "average",
  });
}

function windowed(
  op: string,
  x: Tensor,
  options: PoolOptions & { kind: PoolingSize["kind"] },
): Tensor {
  const { kernel, stride = kernel, padding = 0, kind } = options;
  if (!(kernel >= 1 && stride >= 1)) {
    throw new RangeError(
      `Cannot run ${op}(): expected kernel and stride of at least 1, found ${kernel} and ${stride}`,
    );
  }
  if (!(padding >= 0 && 2 * padding <= kernel)) {
    throw new RangeError(
      `Cannot run ${op}(): expected a padding of at most half the kernel of ${kernel}, found ${padding}`,
    );
  }
  const square = (extent: number): Extent2d => ({ height: extent, width: extent });
  return pool(op, x, {
    window: square(kernel),
    stride: square(stride),
    padding: square(padding),
    kind,
  });
}

function pool(
  op: string,
  x: Tensor,
  options: Pick<PoolingSize, "window" | "stride" | "padding" | "kind">,
): Tensor {
  const { batch, height, width, channels } = dims(x, "batch height width channels", `${op}()`);
  const { window, stride, padding } = options;
  const extent = (axis: "height" | "width", input: number): number =>
    Math.floor((input + 2 * padding[axis] - window[axis]) / stride[axis]) + 1;
  const output = { height: extent("height", height), width: extent("width", width) };
  if (output.height < 1 || output.width < 1) {
    throw new RangeError(
      `Cannot run ${op}(): expected images of at least ${window.height - 2 * padding.height}x${
        window.width - 2 * padding.width
      }, found ${height}x${width}`,
    );
  }
  const size: PoolingSize = { ...options, batch, channels, input: { height, width }, output };
  const { tape } = x;
  const y = tape.alloc([batch, output.height, output.width, channels], x.dtype);
  poolingForward(tape.gpu, { x: x.storage, y: y.storage }, size);
  return tape.record(op, y, [x], (dy) => {
    const dx = tape.alloc(x.shape, x.dtype);
    poolingBackward(tape.gpu, { dy: dy.storage, x: x.storage, dx: dx.storage }, size);
    return [dx];
  });
}

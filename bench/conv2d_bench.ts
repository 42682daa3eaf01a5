/**
 * Rates of convolutions: `deno run -A --preload tools/gpu_env.ts bench/conv2d_bench.ts`.
 *
 * @module
 */

import {
  conv2dForward,
  type Conv2dGeometry,
  conv2dInputGradient,
  conv2dOutputSize,
  conv2dWeightGradient,
} from "../kernels/conv2d.ts";
import { Gpu } from "../kernels/gpu.ts";
import { acquireNumbers, type Passes, printPasses } from "./rate.ts";

/**
 * Describes a convolution as the models use it: padded to keep the size, or to halve it.
 *
 * @param batch Images.
 * @param size Height and width.
 * @param channels Of input and output.
 * @param extent Height and width of the kernel.
 * @param stride Step.
 * @returns Its extents.
 */
export function geometry(
  batch: number,
  size: number,
  channels: readonly [inputs: number, outputs: number],
  extent: number,
  stride: number,
): Conv2dGeometry {
  const pad = extent === 1 ? 0 : 1;
  return {
    batch,
    height: size,
    width: size,
    inputs: channels[0],
    outputs: channels[1],
    kernel: [extent, extent],
    stride,
    padding: extent === 3 && stride === 2 ? [0, 1, 0, 1] : [pad, pad, pad, pad],
  };
}

/** Large ones and those of few channels; encoder and decoder, discriminator, VGG of the default training. */
const GEOMETRIES: readonly Conv2dGeometry[] = [
  geometry(1, 64, [128, 128], 3, 1),
  geometry(8, 32, [64, 64], 3, 1),
  geometry(1, 256, [128, 128], 3, 1),
  geometry(1, 64, [3, 128], 3, 1),
  geometry(1, 64, [128, 3], 3, 1),
  geometry(16, 32, [32, 32], 3, 1),
  geometry(16, 16, [64, 64], 3, 1),
  geometry(16, 32, [32, 32], 3, 2),
  geometry(16, 32, [3, 32], 3, 1),
  geometry(16, 32, [32, 3], 3, 1),
  geometry(16, 32, [64, 32], 1, 1),
  geometry(16, 32, [3, 16], 4, 2),
  geometry(16, 16, [16, 32], 4, 2),
  geometry(16, 8, [32, 1], 4, 1),
  geometry(32, 32, [8, 8], 3, 1),
  geometry(32, 16, [16, 16], 3, 1),
  geometry(32, 4, [64, 64], 3, 1),
];

/**
 * Opens the passes of a convolution.
 *
 * @param gpu The device.
 * @param sizes Extents, stride and padding.
 * @returns The passes over buffers of their own.
 */
export function conv2dPasses(gpu: Gpu, sizes: Conv2dGeometry): Passes {
  const { batch, height, width, inputs, outputs, kernel, stride } = sizes;
  const { outHeight, outWidth } = conv2dOutputSize(sizes);
  const x = acquireNumbers(gpu, batch * height * width * inputs);
  const y = acquireNumbers(gpu, batch * outHeight * outWidth * outputs);
  const weight = acquireNumbers(gpu, kernel[0] * kernel[1] * inputs * outputs);
  return {
    name: `${kernel.join("x")}/${stride} [${[batch, height, width, inputs]}] -> ${outputs}`,
    operations: 2 * (y.bytes / 4) * inputs * kernel[0] * kernel[1],
    record: {
      forward: () => conv2dForward(gpu, { x, weight, y }, sizes),
      "input gradient": () => conv2dInputGradient(gpu, { dy: y, weight, dx: x }, sizes),
      "weight gradient": () => conv2dWeightGradient(gpu, { x, dy: y, dweight: weight }, sizes),
    },
    [Symbol.dispose]: () => [x, y, weight].forEach((slice) => gpu.release(slice)),
  };
}

if (import.meta.main) {
  using gpu = await Gpu.open();
  console.log(gpu.adapter.name);
  for (const sizes of GEOMETRIES) {
    using passes = conv2dPasses(gpu, sizes);
    await printPasses(gpu, passes);
  }
}

/** The sizes of a convolution, and the launching of its products in parts where an operand passes the largest binding. @module */

import { GpuMemoryError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import { MOST_ITERATIONS, requireIterations } from "./loop_limit.ts";
import type { Addressing, ProductForm } from "./matmul_form.ts";
import { productKernel } from "./matmul_source.ts";
import { inTexels } from "./matmul_texels.ts";
import { bandColumns, type Tile, tileColumns, tileRows } from "./matmul_tile.ts";
import { fits, type Window, windowOf } from "./matmul_window.ts";
import type { Slice } from "./slice.ts";

/** Sizes of a convolution. */
export interface Conv2dGeometry {
  /** Images. */
  batch: number;
  /** Height of the input, in pixels. */
  height: number;
  /** Width of the input, in pixels. */
  width: number;
  /** Channels of the input. */
  inputs: number;
  /** Channels of the output. */
  outputs: number;
  /** Extents of the kernel. */
  kernel: readonly [height: number, width: number];
  /** Distance of neighboring kernel positions, in pixels of the input, along both axes. */
  stride: number;
  /** Zeros around the input, in pixels. */
  padding: readonly [top: number, bottom: number, left: number, right: number];
}

/**
 * Computes the size of a convolution's output.
 *
 * @param geometry Sizes.
 * @returns Height and width in pixels; below 1 where the kernel does not fit the padded input.
 */
export function conv2dOutputSize(
  geometry: Omit<Conv2dGeometry, "batch" | "inputs" | "outputs">,
): { outHeight: number; outWidth: number } {
  const { height, width, kernel, stride, padding: [top, bottom, left, right] } = geometry;
  return {
    outHeight: Math.floor((height + top + bottom - kernel[0]) / stride) + 1,
    outWidth: Math.floor((width + left + right - kernel[1]) / stride) + 1,
  };
}

/**
 * Tells whether a convolution is a plain product: 1×1, of every pixel.
 *
 * @param geometry Sizes.
 * @returns Whether it is.
 */
export function isPointwise({ kernel, stride, padding }: Conv2dGeometry): boolean {
  return kernel[0] === 1 && kernel[1] === 1 && stride === 1 && padding.every((pad) => pad === 0);
}

/**
 * Counts the loop iterations over the taps and the channels of each.
 *
 * @param geometry Sizes.
 * @param channels Channels that are summed over.
 * @param vectors Whether they load four at a time.
 * @returns Iterations.
 */
export function tapIterations(
  { kernel }: Conv2dGeometry,
  channels: number,
  vectors: boolean,
): number {
  return kernel[0] * (1 + kernel[1] * (1 + Math.ceil(channels / (vectors ? 4 : 1))));
}

/** Begin, and end (exclusive). */
export type Span = readonly [begin: number, end: number];

/** What one dispatch handles. */
export interface Part {
  /** Images. */
  images: Span;
  /** Lines of each image; all where there is more than one image. */
  lines: Span;
}

/** An operand of a {@linkcode Pass}. */
export interface PassOperand {
  /** Where the elements are. */
  slice: Slice;
  /** Elements of one line, such as width × channels. */
  lineSize: number;
  /** Lines of one image; 0 for an operand that has no images. */
  imageLines: number;
  /** The lines that a part touches, within each image. */
  lines: (part: Part) => Span;
}

/** One of the three products of a convolution. */
export interface Pass {
  /** How operands are addressed. */
  addressing: Addressing;
  /** Sizes. */
  geometry: Conv2dGeometry;
  /** Left operand. */
  a: PassOperand;
  /** Right operand. */
  b: PassOperand;
  /** The product. */
  c: PassOperand;
  /** Added to each row of the product. */
  bias?: Slice | undefined;
  /** Added to the product: laid out as C. */
  residual?: PassOperand | undefined;
  /** What a lane owns. */
  tile: Tile;
  /** Layout of the operands. */
  form: ProductForm;
  /** Lines of an image over which parts divide. */
  lines: number;
  /** Rows and columns of the product, and how many such products (phases, or shares) a part has. */
  grid: (part: Part) => { rows: number; columns: number; products: number };
  /** Loop iterations of a lane, where they depend on the part. */
  iterations?: (part: Part) => number;
  /** Parameters that only this product has. */
  params: (part: Part) => Record<string, number>;
}

/**
 * Moves a span into an axis.
 *
 * @param begin Begin; may be negative.
 * @param end End; may be past the axis.
 * @param extent Extent of the axis, at least 1.
 * @returns A span of at least 1.
 */
export function clampSpan(begin: number, end: number, extent: number): Span {
  const first = Math.min(Math.max(0, begin), extent - 1);
  return [first, Math.max(first + 1, Math.min(end, extent))];
}

/**
 * Finds the input lines that the taps of some output lines meet.
 *
 * @param geometry Sizes.
 * @param span Output lines.
 * @returns Input lines.
 */
export function inputLines(geometry: Conv2dGeometry, [begin, end]: Span): Span {
  const { stride, padding: [top], kernel: [kernelHeight], height } = geometry;
  return clampSpan(begin * stride - top, (end - 1) * stride - top + kernelHeight, height);
}

/**
 * Makes an operand of images.
 *
 * @param slice Where the elements are.
 * @param size Extents of an image.
 * @param lines The lines of an image that a part touches.
 * @returns The operand.
 */
export function activation(
  slice: Slice,
  size: { height: number; width: number; channels: number },
  lines: (part: Part) => Span,
): PassOperand {
  return { slice, lineSize: size.width * size.channels, imageLines: size.height, lines };
}

/**
 * Makes an operand of weights.
 *
 * @param slice Where the elements are.
 * @param geometry Sizes.
 * @returns The operand; every part touches all of it.
 */
export function weights(
  slice: Slice,
  { kernel, inputs, outputs }: Conv2dGeometry,
): PassOperand {
  const size = kernel[0] * kernel[1] * inputs * outputs;
  return { slice, lineSize: size, imageLines: 0, lines: () => [0, 1] };
}

function windowFor(gpu: Gpu, operand: PassOperand, part: Part): Window {
  const { slice, lineSize, imageLines } = operand;
  const [begin, end] = operand.lines(part);
  return windowOf(gpu, slice, {
    first: (part.images[0] * imageLines + begin) * lineSize,
    end: ((part.images[1] - 1) * imageLines + end) * lineSize,
  });
}

/**
 * Cuts a pass into images, and an image into lines, until every operand, the grid and the loops are within the adapter's limits.
 *
 * @param gpu The device.
 * @param pass The product.
 * @param part What is cut. Default: everything.
 * @returns The parts, in order.
 * @throws {GpuMemoryError} If not even one line fits.
 * @throws {RangeError} If the loops over one line are too long for a software adapter.
 */
export function partsOf(
  gpu: Gpu,
  pass: Pass,
  part: Part = { images: [0, pass.geometry.batch], lines: [0, pass.lines] },
): Part[] {
  const bound = [pass.a, pass.b, pass.c].every((operand) =>
    fits(gpu, windowFor(gpu, operand, part))
  );
  const limit = gpu.limits.maxComputeWorkgroupsPerDimension;
  const iterations = pass.iterations?.(part) ?? 0;
  const large = !bound || pass.grid(part).rows > limit * tileRows(pass.tile);
  if (!large && iterations <= MOST_ITERATIONS) return [part];
  const axis = part.images[1] - part.images[0] > 1 ? "images" : "lines";
  const [begin, end] = part[axis];
  if (end - begin < 2) {
    if (!large) {
      requireIterations(gpu, pass.addressing.name, iterations);
      return [part];
    }
    throw new GpuMemoryError(
      `Cannot bind ${pass.addressing.name}: expected one line of an image and the weights within ${gpu.maxBindingBytes} bytes each`,
    );
  }
  const middle = begin + Math.ceil((end - begin) / 2);
  return [
    ...partsOf(gpu, pass, { ...part, [axis]: [begin, middle] }),
    ...partsOf(gpu, pass, { ...part, [axis]: [middle, end] }),
  ];
}

/**
 * Runs one part of a product.
 *
 * @param gpu The device.
 * @param pass The product.
 * @param part The part.
 */
export function runPart(gpu: Gpu, pass: Pass, part: Part): void {
  const { addressing, geometry, tile, bias } = pass;
  const { outHeight, outWidth } = conv2dOutputSize(geometry);
  const { rows, columns, products } = pass.grid(part);
  const windows = {
    a: windowFor(gpu, pass.a, part),
    b: windowFor(gpu, pass.b, part),
    c: windowFor(gpu, pass.c, part),
  };
  const residual = pass.residual && windowFor(gpu, pass.residual, part);
  const biasWindow = bias && windowOf(gpu, bias, { first: 0, end: geometry.outputs });
  const offset = (name: "a" | "b" | "c"): number =>
    windows[name].origin + part.images[0] * pass[name].imageLines * pass[name].lineSize;
  // Every pass multiplies each output with each of its taps and channels once.
  const images = part.images[1] - part.images[0];
  const share = images * (part.lines[1] - part.lines[0]) / pass.lines;
  const { kernel, inputs, outputs } = geometry;
  const taps = kernel[0] * kernel[1] * inputs * outputs;
  const operations = 2 * share * outHeight * outWidth * taps;
  const operands = { a: windows.a.slice, b: windows.b.slice };
  const { form, copies, ...copied } = inTexels(gpu, operands, { ...pass, operations });
  // Only weights are loaded for each row of tiles from all over a large array.
  const banded = gpu.adapter.software && pass.b.imageLines === 0 && rows > tileRows(tile);
  const band = banded ? bandColumns(columns, taps / columns, tile) : columns;
  const run = (column: number): void =>
    gpu.run(productKernel(tile, form, addressing), addressing.name, {
      work: { operations: operations * band / columns },
      buffers: {
        ...copied,
        c: windows.c.slice,
        ...(biasWindow && { bias: biasWindow.slice }),
        ...(residual && { residual: residual.slice }),
      },
      params: {
        alpha: 1,
        residualShift: residual ? residual.origin - windows.c.origin : 0,
        m: rows,
        n: band,
        inputs: geometry.inputs,
        outputs: geometry.outputs,
        height: geometry.height,
        width: geometry.width,
        outHeight,
        outWidth,
        kernelHeight: geometry.kernel[0],
        kernelWidth: geometry.kernel[1],
        stride: geometry.stride,
        padTop: geometry.padding[0],
        padLeft: geometry.padding[2],
        firstLine: part.lines[0],
        lines: part.lines[1] - part.lines[0],
        aOffset: offset("a"),
        bOffset: offset("b") + column * (form.bAlong === "inner" ? outputs : 1),
        cOffset: offset("c") + column,
        biasOffset: (biasWindow?.origin ?? 0) + column,
        ...pass.params(part),
      },
      workgroups: [
        Math.ceil(band / tileColumns(tile)),
        Math.ceil(rows / tileRows(tile)),
        products,
      ],
    });
  for (let column = 0; column < columns; column += band) run(column);
  for (const copy of copies) gpu.release(copy);
}

/** A product over random operands: how to record it, and what some of its elements must be. @module */

import {
  conv2dForward,
  type Conv2dGeometry,
  conv2dInputGradient,
  conv2dOutputSize,
  conv2dWeightGradient,
} from "../../kernels/conv2d.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { matmul } from "../../kernels/matmul.ts";
import type { Tile } from "../../kernels/matmul_tile.ts";
import type { Slice } from "../../kernels/slice.ts";
import type { ProductRequest } from "../../kernels/tile_table.ts";

/** Elements of an operand on the host, with the rounding of its type. */
type Values = Float32Array | Float16Array;

/** The expected value of one element of a result. */
interface Expected {
  /** The sum. */
  readonly value: number;
  /** Sum of the absolute values of its terms, which rounding errors are proportional to. */
  readonly magnitude: number;
}

/** Elements of a result that are compared. */
const SAMPLES = 96;
/** Rounding of long f32 sums, as a share of the sum of absolute terms. */
const SUM_ERROR = 1e-5;
/** Rounding of a result to f16. */
const HALF_ERROR = 2 ** -10;

/** A product over operands of its own. */
export class Product implements Disposable {
  /** Floating-point operations. */
  readonly operations: number;
  readonly #gpu: Gpu;
  readonly #request: ProductRequest;
  readonly #a: Slice;
  readonly #b: Slice;
  readonly #c: Slice;
  readonly #aValues: Values;
  readonly #bValues: Values;

  /**
   * Takes buffers and fills the operands with random numbers.
   *
   * @param gpu The device.
   * @param request The product.
   */
  constructor(gpu: Gpu, request: ProductRequest) {
    this.#gpu = gpu;
    this.#request = request;
    const { half } = request;
    const [aSize, bSize, cSize] = sizesOf(request);
    this.#aValues = randomValues(aSize, half[0], 1);
    this.#bValues = randomValues(bSize, half[1], 2);
    this.#a = acquire(gpu, aSize, half[0]);
    this.#b = acquire(gpu, bSize, half[1]);
    this.#c = acquire(gpu, cSize, half[2]);
    gpu.upload(this.#a, this.#aValues);
    gpu.upload(this.#b, this.#bValues);
    const { rows, columns, inner, batch } = request.shape;
    this.operations = 2 * rows * columns * inner * batch;
  }

  /**
   * Records the product once.
   *
   * @param tile How it is divided.
   */
  record(tile: Tile): void {
    const gpu = this.#gpu;
    const { kind, shape, geometry, transposed } = this.#request;
    const [a, b, c] = [this.#a, this.#b, this.#c];
    if (kind === "conv2d_forward") {
      conv2dForward(gpu, { x: a, weight: b, y: c }, geometry!, { tile });
    } else if (kind === "conv2d_input_gradient") {
      conv2dInputGradient(gpu, { dy: a, weight: b, dx: c }, geometry!, { tile });
    } else if (kind === "conv2d_weight_gradient") {
      conv2dWeightGradient(gpu, { x: a, dy: b, dweight: c }, geometry!, { tile });
    } else {
      const { rows, columns, inner, batch } = shape;
      const [transposeA, transposeB] = transposed!;
      matmul(gpu, {
        a: { slice: a },
        b: { slice: b },
        c: { slice: c },
        rows,
        columns,
        inner,
        batch: [batch, 1],
        transposeA,
        transposeB,
        tile,
      });
    }
  }

  /**
   * Records the product and compares elements of the result, spread over all of it, with sums in double precision.
   *
   * @param tile How it is divided.
   * @returns Whether all are right.
   */
  async isRight(tile: Tile): Promise<boolean> {
    const gpu = this.#gpu;
    // What a wrong kernel does not write must not look right because an earlier one wrote it.
    gpu.clear(this.#c);
    this.record(tile);
    const [bytes] = await gpu.read([this.#c]);
    const half = this.#request.half[2];
    const found = half ? new Float16Array(bytes!) : new Float32Array(bytes!);
    for (let sample = 0; sample < SAMPLES; sample++) {
      const at = Math.floor(sample * (found.length - 1) / (SAMPLES - 1));
      const { value, magnitude } = this.#expected(at);
      const allowed = SUM_ERROR * magnitude + (half ? HALF_ERROR * Math.abs(value) : 0);
      if (!(Math.abs(found[at]! - value) <= allowed)) return false;
    }
    return true;
  }

  /** Gives the buffers back. */
  [Symbol.dispose](): void {
    for (const slice of [this.#a, this.#b, this.#c]) this.#gpu.release(slice);
  }

  #expected(at: number): Expected {
    const a = this.#aValues;
    const b = this.#bValues;
    let value = 0;
    let magnitude = 0;
    for (const [i, j] of termsOf(this.#request, at)) {
      const term = a[i]! * b[j]!;
      value += term;
      magnitude += Math.abs(term);
    }
    return { value, magnitude };
  }
}

function acquire(gpu: Gpu, size: number, half: boolean): Slice {
  const slice = gpu.acquire((half ? 2 : 4) * size, "an operand of a product");
  return { ...slice, half };
}

function randomValues(size: number, half: boolean, seed: number): Values {
  const values = half ? new Float16Array(size) : new Float32Array(size);
  let state = seed;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = state / 2 ** 31 - 1;
  }
  return values;
}

/** Elements of A, B and C. */
function sizesOf({ kind, shape, geometry }: ProductRequest): [number, number, number] {
  if (geometry && kind !== "matmul") {
    const { batch, height, width, inputs, outputs, kernel } = geometry;
    const { outHeight, outWidth } = conv2dOutputSize(geometry);
    const x = batch * height * width * inputs;
    const y = batch * outHeight * outWidth * outputs;
    const weight = kernel[0] * kernel[1] * inputs * outputs;
    if (kind === "conv2d_forward") return [x, weight, y];
    return kind === "conv2d_input_gradient" ? [y, weight, x] : [x, y, weight];
  }
  const { rows, columns, inner, batch } = shape;
  return [batch * rows * inner, batch * inner * columns, batch * rows * columns];
}

/** Pairs of elements of A and B whose products add up to an element of the result. */
function* termsOf(request: ProductRequest, at: number): Generator<readonly [number, number]> {
  const { kind, shape, geometry, transposed } = request;
  if (kind !== "matmul") {
    yield* convolutionTerms(kind, geometry!, at);
    return;
  }
  const { rows, columns, inner } = shape;
  const [transposeA, transposeB] = transposed!;
  const column = at % columns;
  const row = Math.floor(at / columns) % rows;
  const matrix = Math.floor(at / columns / rows);
  for (let k = 0; k < inner; k++) {
    yield [
      matrix * rows * inner + (transposeA ? k * rows + row : row * inner + k),
      matrix * inner * columns + (transposeB ? column * inner + k : k * columns + column),
    ];
  }
}

function* convolutionTerms(
  kind: ProductRequest["kind"],
  geometry: Conv2dGeometry,
  at: number,
): Generator<readonly [number, number]> {
  const { batch, height, width, inputs, outputs, kernel, stride, padding } = geometry;
  const { outHeight, outWidth } = conv2dOutputSize(geometry);
  const x = (n: number, i: number, j: number, c: number): number =>
    ((n * height + i) * width + j) * inputs + c;
  const y = (n: number, i: number, j: number, o: number): number =>
    ((n * outHeight + i) * outWidth + j) * outputs + o;
  const weight = (ky: number, kx: number, c: number, o: number): number =>
    ((ky * kernel[1] + kx) * inputs + c) * outputs + o;
  const split = (index: number, ...extents: number[]): number[] => {
    const parts = extents.map(() => 0);
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      parts[axis] = index % extents[axis]!;
      index = Math.floor(index / extents[axis]!);
    }
    return parts;
  };
  const inside = (i: number, j: number): boolean => i >= 0 && i < height && j >= 0 && j < width;
  if (kind === "conv2d_weight_gradient") {
    const [ky, kx, c, o] = split(at, kernel[0], kernel[1], inputs, outputs) as Four;
    for (let n = 0; n < batch; n++) {
      for (let i = 0; i < outHeight; i++) {
        for (let j = 0; j < outWidth; j++) {
          const top = i * stride + ky - padding[0], left = j * stride + kx - padding[2];
          if (inside(top, left)) yield [x(n, top, left, c), y(n, i, j, o)];
        }
      }
    }
    return;
  }
  const forward = kind === "conv2d_forward";
  const [n, i, j, channel] =
    (forward
      ? split(at, batch, outHeight, outWidth, outputs)
      : split(at, batch, height, width, inputs)) as Four;
  for (let ky = 0; ky < kernel[0]; ky++) {
    for (let kx = 0; kx < kernel[1]; kx++) {
      if (forward) {
        const top = i * stride + ky - padding[0], left = j * stride + kx - padding[2];
        if (!inside(top, left)) continue;
        for (let c = 0; c < inputs; c++) yield [x(n, top, left, c), weight(ky, kx, c, channel)];
      } else {
        const top = (i + padding[0] - ky) / stride, left = (j + padding[2] - kx) / stride;
        const exists = Number.isInteger(top) && Number.isInteger(left) && top >= 0 &&
          top < outHeight && left >= 0 && left < outWidth;
        if (!exists) continue;
        for (let o = 0; o < outputs; o++) yield [y(n, top, left, o), weight(ky, kx, channel, o)];
      }
    }
  }
}

type Four = [number, number, number, number];

/** Tensors: values of a tape, and parameters that outlive tapes. @module */

import { cast } from "../kernels/cast.ts";
import type { Gpu } from "../kernels/gpu.ts";
import type { MemoryUse } from "../kernels/pool.ts";
import { elementBytes, type Slice, subslice } from "../kernels/slice.ts";
import type { Tape } from "./tape.ts";

/**
 * Element types: 32-bit floats; 16-bit floats, which ops convert on loading and storing and compute with as f32; unsigned 32-bit
 * integers for indices and labels.
 */
export type DataType = "f32" | "f16" | "u32";

/** Anything an op can read: a {@linkcode Tensor} of a tape or a {@linkcode Parameter}. */
export interface Operand {
  /** Extents, outermost first; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DataType;
  /** Where the elements are, contiguous, last axis fastest. */
  readonly storage: Slice;
}

/**
 * Counts the elements of a shape.
 *
 * @param shape Extents.
 * @returns Their product; 1 for a scalar.
 */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/**
 * Counts the bytes of a tensor.
 *
 * @param shape Extents.
 * @param dtype Element type.
 * @returns Bytes of its elements.
 */
export function bytesOf(shape: readonly number[], dtype: DataType): number {
  return sizeOf(shape) * elementBytes({ half: dtype === "f16" });
}

/**
 * Takes a buffer for the elements of a tensor.
 *
 * @param gpu The device.
 * @param shape Extents.
 * @param options `dtype`: element type; `purpose`: named in memory errors; `use`: what it counts as.
 * @returns Undefined elements of that type.
 */
export function acquireElements(
  gpu: Gpu,
  shape: readonly number[],
  options: { dtype: DataType; purpose: string; use: MemoryUse },
): Slice {
  const slice = gpu.acquire(bytesOf(shape, options.dtype), options.purpose, options.use);
  return options.dtype === "f16" ? { ...slice, half: true } : slice;
}

/** Elements that were read back, as f32. */
function asFloat32(bytes: ArrayBuffer, dtype: DataType): Float32Array {
  return dtype === "f16" ? Float32Array.from(new Float16Array(bytes)) : new Float32Array(bytes);
}

/** A value on a tape. Its buffer belongs to the tape and is given back when the tape closes. */
export class Tensor implements Operand {
  readonly #storage: Slice;

  /**
   * Tensors are made by a tape and by ops, not by callers.
   *
   * @param tape The owner.
   * @param shape Extents.
   * @param dtype Element type.
   * @param storage Where the elements are.
   */
  constructor(
    readonly tape: Tape,
    readonly shape: readonly number[],
    readonly dtype: DataType,
    storage: Slice,
  ) {
    this.#storage = storage;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Where the elements are. @throws {TypeError} If the tape is closed or the tensor was released. */
  get storage(): Slice {
    this.tape.assertLive(this.#storage);
    return this.#storage;
  }

  /**
   * Reads the elements back. The copy is recorded now, so the tape may close while the promise is pending.
   *
   * @returns The elements as f32.
   * @throws {TypeError} If the tensor holds integers.
   */
  async read(): Promise<Float32Array> {
    if (this.dtype === "u32") {
      throw new TypeError(`Cannot read as f32: expected dtype f32 or f16, found ${this.dtype}`);
    }
    const [bytes] = await this.tape.gpu.read([this.storage]);
    return asFloat32(bytes!, this.dtype);
  }

  /**
   * Reads integer elements back.
   *
   * @returns The elements as u32.
   * @throws {TypeError} If the tensor holds floats.
   */
  async readIndices(): Promise<Uint32Array> {
    if (this.dtype !== "u32") {
      throw new TypeError(`Cannot read as u32: expected dtype u32, found ${this.dtype}`);
    }
    const [bytes] = await this.tape.gpu.read([this.storage]);
    return new Uint32Array(bytes!);
  }
}

/** Options of a {@linkcode Parameter}. */
export interface ParameterOptions {
  /** Element type, default f32. */
  dtype?: DataType;
  /** Whether an optimizer updates it; false for running statistics, caches and averages. Default true. */
  trainable?: boolean;
  /**
   * How the axes of the reference's file become ours: axis i here is axis `filePermutation[i]` there. Default: the same order.
   */
  filePermutation?: readonly number[];
  /** Named in memory errors. */
  purpose?: string;
  /** What its bytes count as. Default: weights. */
  use?: MemoryUse;
  /** A part of a buffer that something else owns, where the elements shall lie. Default: a buffer of their own. */
  storage?: Slice;
}

/**
 * A tensor that outlives tapes: a weight, a running statistic, a cache. It owns its buffer until it is disposed, or lies in a buffer
 * of something else, such as an optimizer, that outlives its use. Without a device it is an outline: it has a shape, a type and a
 * use, which is what names, counts and plans of memory need, and no elements.
 */
export class Parameter implements Operand, Disposable {
  /** Whether an optimizer updates it. */
  readonly trainable: boolean;
  /** Axis i here is axis `filePermutation[i]` of the reference's file. */
  readonly filePermutation: readonly number[] | undefined;
  readonly #gpu: Gpu | undefined;
  readonly #use: MemoryUse;
  #dtype: DataType;
  #storage: Slice | undefined;
  #owned: boolean;

  /**
   * Takes a buffer for the elements.
   *
   * @param gpu The device; undefined for an outline.
   * @param shape Extents, in the engine's order of axes.
   * @param options Type and use. The elements are undefined until written.
   */
  constructor(
    gpu: Gpu | undefined,
    readonly shape: readonly number[],
    options: ParameterOptions = {},
  ) {
    this.#gpu = gpu;
    this.#dtype = options.dtype ?? "f32";
    this.trainable = options.trainable ?? true;
    this.filePermutation = options.filePermutation;
    this.#use = options.use ?? "weights";
    this.#owned = options.storage === undefined;
    if (gpu) this.#storage = options.storage ?? this.#acquire(options.purpose);
  }

  /** The device. @throws {TypeError} If the parameter is an outline. */
  get gpu(): Gpu {
    if (!this.#gpu) {
      throw new TypeError(
        `Cannot use a parameter of shape [${this.shape}]: expected one with elements, found an outline`,
      );
    }
    return this.#gpu;
  }

  /** Whether it has a shape, but no elements. */
  get isOutline(): boolean {
    return this.#gpu === undefined;
  }

  /** Element type. */
  get dtype(): DataType {
    return this.#dtype;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Where the elements are. @throws {TypeError} If the parameter was disposed or is an outline. */
  get storage(): Slice {
    if (!this.#storage) {
      throw new TypeError(
        `Cannot use a parameter of shape [${this.shape}]: expected one with elements, found ${
          this.isOutline ? "an outline" : "it disposed"
        }`,
      );
    }
    return this.#storage;
  }

  /**
   * Writes all elements, in the engine's order of axes.
   *
   * @param data As many elements as the shape has; rounded where the parameter is f16.
   * @throws {RangeError} If the count differs.
   */
  write(data: Float32Array | Uint32Array): void {
    if (data.length !== this.size) {
      throw new RangeError(
        `Cannot write a parameter of shape [${this.shape}]: expected ${this.size} elements, found ${data.length}`,
      );
    }
    this.writePart(0, data);
  }

  /**
   * Writes some elements, so that a large parameter is written piece by piece and never in host memory as a whole.
   *
   * @param first Number of the first of them in the engine's order of axes; even where the parameter is f16.
   * @param data The elements; rounded where the parameter is f16.
   * @throws {RangeError} If the parameter has fewer.
   */
  writePart(first: number, data: Float32Array | Uint32Array): void {
    const width = bytesOf([], this.dtype);
    if (first + data.length > this.size || first * width % 4 !== 0) {
      throw new RangeError(
        `Cannot write elements ${first} to ${
          first + data.length
        } of a parameter: expected at most ${this.size}, and whole words`,
      );
    }
    const place = subslice(this.storage, first * width, data.length * width);
    this.gpu.upload(place, this.dtype === "f16" ? Float16Array.from(data) : data);
  }

  /**
   * Stores the elements in another type: as f16 they are rounded, and infinite where they are too large. Not while a tape that has
   * read the parameter is open.
   *
   * @param dtype Wanted type.
   * @throws {TypeError} If the parameter holds integers.
   * @throws {GpuError} Later, if the adapter has no f16 (feature shader-f16).
   */
  convertTo(dtype: Exclude<DataType, "u32">): void {
    if (this.dtype === "u32") {
      throw new TypeError(
        `Cannot convert a parameter: expected dtype f32 or f16, found ${this.dtype}`,
      );
    }
    if (dtype === this.dtype) return;
    if (this.isOutline) {
      this.#dtype = dtype;
      return;
    }
    const { storage } = this;
    this.#dtype = dtype;
    const converted = this.#acquire();
    cast(this.gpu, { x: storage, y: converted });
    if (this.#owned) this.gpu.release(storage);
    this.#storage = converted;
    this.#owned = true;
  }

  /**
   * Reads all elements, in the engine's order of axes.
   *
   * @returns A copy.
   */
  async read(): Promise<Float32Array> {
    const [bytes] = await this.gpu.read([this.storage]);
    return asFloat32(bytes!, this.dtype);
  }

  /**
   * Moves the elements into a part of a buffer that something else owns, so that one dispatch can serve several parameters. Not while
   * a tape that has read the parameter is open.
   *
   * @param place As many bytes. Its owner calls {@linkcode Parameter.moveOut} before it gives the buffer back.
   */
  moveTo(place: Slice): void {
    const { storage } = this;
    this.gpu.copy(storage, place);
    if (this.#owned) this.gpu.release(storage);
    this.#storage = place;
    this.#owned = false;
  }

  /**
   * Moves the elements back into a buffer of their own, if they still lie where {@linkcode Parameter.moveTo} put them.
   *
   * @param place Where that was.
   */
  moveOut(place: Slice): void {
    if (this.#storage !== place) return;
    const own = this.#acquire();
    this.gpu.copy(place, own);
    this.#storage = own;
    this.#owned = true;
  }

  /** Gives the buffer back, if it is the parameter's own. */
  [Symbol.dispose](): void {
    if (this.#storage && this.#owned) this.#gpu?.release(this.#storage);
    this.#storage = undefined;
  }

  #acquire(purpose = `a parameter of shape [${this.shape}]`): Slice {
    const { dtype } = this;
    return acquireElements(this.gpu, this.shape, { dtype, purpose, use: this.#use });
  }
}

/**
 * Names the axes of an operand, checking their number.
 *
 * @param x The operand.
 * @param names Axis names separated by spaces, outermost first.
 * @param operation Named in the error.
 * @returns The extent of each axis by name.
 * @throws {TypeError} If the number of axes differs.
 *
 * @example Usage
 * ```ts ignore
 * const { batch, height, width, channels } = dims(x, "batch height width channels", "groupNorm()");
 * ```
 */
export function dims<Names extends string>(
  x: Operand,
  names: Names,
  operation: string,
): Record<AxisNames<Names>, number> {
  const axes = names.split(" ");
  if (axes.length !== x.shape.length) {
    throw new TypeError(
      `Cannot run ${operation}: expected shape (${axes.join(", ")}), found [${x.shape}]`,
    );
  }
  return Object.fromEntries(axes.map((axis, i) => [axis, x.shape[i]])) as Record<
    AxisNames<Names>,
    number
  >;
}

/** The union of the names in a space-separated list. */
export type AxisNames<Text extends string> = Text extends `${infer Head} ${infer Tail}`
  ? Head | AxisNames<Tail>
  : Text;

/**
 * Checks an operand's shape.
 *
 * @param x The operand.
 * @param shape What it must be.
 * @param what Named in the error, such as `groupNorm() weight`.
 * @throws {TypeError} If it differs.
 */
export function assertShape(x: Operand, shape: readonly number[], what: string): void {
  if (x.shape.length !== shape.length || x.shape.some((extent, i) => extent !== shape[i])) {
    throw new TypeError(`Cannot use ${what}: expected shape [${shape}], found [${x.shape}]`);
  }
}

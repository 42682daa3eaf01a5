/** The pool of textures that hold arrays of vectors: software adapters load texels faster than elements of storage buffers. @module */

import { FreeList } from "./free_list.ts";
import type { BufferPool } from "./pool.ts";
import type { BindingLimits, Slice } from "./slice.ts";

/** Texels of a row, as in texels.wgsl: vector i of an array is texel (i % TEXEL_ROW, i / TEXEL_ROW). */
export const TEXEL_ROW = 1024;
/**
 * Unused texels behind each row, a line of a cache: rows of a matrix are often a power of two apart, and would otherwise all be kept in
 * the same few places of a cache.
 */
const PADDING = 4;
/** Bytes of a texel: four f32. */
export const TEXEL_BYTES = 16;

/** Copies take at most this much memory each. */
const MOST_COPY_BYTES = 2 ** 26;

/**
 * Limits of parts of arrays that can also be copied into textures.
 *
 * @param gpu The device.
 * @param mostBytes Bytes of a copy, at most. Default: as many as may be.
 * @returns The device's limits or, where it reads textures, smaller ones.
 */
export function copyLimits(
  gpu: BindingLimits & { leastTexelBytes: number },
  mostBytes: number = MOST_COPY_BYTES,
): BindingLimits {
  const { maxBindingBytes, offsetAlignment, leastTexelBytes } = gpu;
  const most = leastTexelBytes < Infinity ? mostBytes : Infinity;
  return { offsetAlignment, maxBindingBytes: Math.min(maxBindingBytes, most) };
}

/**
 * Tells whether an array can be copied into a texture.
 *
 * @param slice The array.
 * @returns Whether it is f32, begins at a whole texel and is not too large.
 */
export function fitsTexelCopy({ half, texture, offsetBytes, bytes }: Slice): boolean {
  return !half && !texture && offsetBytes % TEXEL_BYTES === 0 && bytes <= MOST_COPY_BYTES;
}

/**
 * The same for kernels that load each element about once.
 *
 * @param gpu The device.
 * @param mostBytes Bytes of a copy, at most. Default: as many as may be.
 * @returns The device's limits or, where such kernels read textures, smaller ones.
 */
export function streamLimits(
  gpu: BindingLimits & { leastStreamBytes: number },
  mostBytes?: number,
): BindingLimits {
  const { maxBindingBytes, offsetAlignment, leastStreamBytes: leastTexelBytes } = gpu;
  return copyLimits({ maxBindingBytes, offsetAlignment, leastTexelBytes }, mostBytes);
}

/** Textures by number of rows, made when they are first wanted and used again: the queue runs in order, as for buffers. */
export class TexelPool {
  readonly #device: GPUDevice;
  readonly #bytes: Pick<BufferPool, "count">;
  readonly #free = new FreeList<GPUTexture>();
  readonly #live = new Set<GPUTexture>();

  /**
   * Starts empty.
   *
   * @param device The device that creates the textures.
   * @param bytes Counts their bytes.
   */
  constructor(device: GPUDevice, bytes: Pick<BufferPool, "count">) {
    this.#device = device;
    this.#bytes = bytes;
  }

  /**
   * Takes a texture for at least `bytes` bytes.
   *
   * @param bytes Wanted size.
   * @returns A texture of rows of {@linkcode TEXEL_ROW} texels whose contents are undefined.
   * @throws {GpuMemoryError} If it passes the budget.
   */
  acquire(bytes: number): GPUTexture {
    const wanted = Math.max(1, Math.ceil(bytes / TEXEL_BYTES / TEXEL_ROW));
    // Few different heights, so that nearly equal sizes share textures.
    const step = 2 ** Math.max(0, Math.floor(Math.log2(wanted)) - 2);
    const rows = uneven(Math.ceil(wanted / step) * step);
    let texture = this.#free.take(rows);
    if (texture) this.#bytes.count(bytesOf(texture), -bytesOf(texture));
    else {
      this.#bytes.count(rows * (TEXEL_ROW + PADDING) * TEXEL_BYTES);
      texture = this.#device.createTexture({
        label: "an array of vectors",
        size: [TEXEL_ROW + PADDING, rows],
        format: "rgba32float",
        usage: GPUTextureUsage.COPY_DST | GPUTextureUsage.STORAGE_BINDING,
      });
    }
    this.#live.add(texture);
    return texture;
  }

  /**
   * Gives a texture back, if it is of this pool.
   *
   * @param texture Any texture.
   * @returns Whether it is.
   */
  release(texture: GPUTexture): boolean {
    if (!this.#live.delete(texture)) return false;
    this.#bytes.count(-bytesOf(texture), bytesOf(texture));
    this.#free.put(texture.height, texture);
    return true;
  }

  /** Destroys all released textures; what was recorded must have been submitted. */
  trim(): void {
    for (const rows of [...this.#free.sizes]) {
      for (let texture = this.#free.take(rows); texture; texture = this.#free.take(rows)) {
        this.#bytes.count(0, -bytesOf(texture));
        texture.destroy();
      }
    }
  }
}

/** The least number from `rows` up that is no power of two: software drivers compile a kernel again where heights are of both kinds. */
function uneven(rows: number): number {
  if (rows < 3) return 3;
  return Number.isInteger(Math.log2(rows)) ? rows + 1 : rows;
}

function bytesOf({ width, height }: GPUTexture): number {
  return width * height * TEXEL_BYTES;
}

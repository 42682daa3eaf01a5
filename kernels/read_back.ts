/** Brings bytes from the device to the host. @module */

import { type Slice, wholeWords } from "./slice.ts";

/** Staging buffers above this size are not kept. */
const LARGEST_KEPT = 1 << 24;

/** Where slices lie in one staging buffer. */
export interface ReadPlan {
  /** The staging buffer. */
  readonly staging: GPUBuffer;
  /** What is read. */
  readonly slices: readonly Slice[];
  /** Where each slice begins in `staging`. */
  readonly offsets: readonly number[];
}

/** Staging buffers for reading, reused. */
export class ReadBack {
  readonly #device: GPUDevice;
  readonly #free: GPUBuffer[] = [];

  /**
   * Starts without buffers.
   *
   * @param device The device.
   */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /**
   * Takes a staging buffer that holds all slices.
   *
   * @param slices What is to be read.
   * @returns Where each is to be copied.
   */
  plan(slices: readonly Slice[]): ReadPlan {
    const offsets: number[] = [];
    let bytes = 0;
    for (const slice of slices) {
      offsets.push(bytes);
      bytes += Math.ceil(slice.bytes / 8) * 8;
    }
    return { staging: this.#take(bytes), slices, offsets };
  }

  /**
   * Copies the bytes out of a mapped staging buffer and gives it back.
   *
   * @param plan What {@linkcode ReadBack.plan} returned.
   * @param keep Whether the buffer may be reused.
   * @returns The bytes of each slice.
   */
  finish({ staging, slices, offsets }: ReadPlan, keep: boolean): ArrayBuffer[] {
    const mapped = staging.getMappedRange();
    const parts = slices.map(({ bytes }, i) => mapped.slice(offsets[i]!, offsets[i]! + bytes));
    staging.unmap();
    if (!keep || staging.size > LARGEST_KEPT) staging.destroy();
    else this.#free.push(staging);
    return parts;
  }

  /** Destroys the buffers that wait for reuse. */
  trim(): void {
    for (const buffer of this.#free.splice(0)) buffer.destroy();
  }

  #take(bytes: number): GPUBuffer {
    const at = this.#free.findIndex((buffer) =>
      buffer.size >= bytes && buffer.size <= 4 * bytes + 4096
    );
    if (at >= 0) return this.#free.splice(at, 1)[0]!;
    return this.#device.createBuffer({
      label: "read",
      size: Math.max(256, wholeWords(bytes)),
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
  }
}

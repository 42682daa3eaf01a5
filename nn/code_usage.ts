/** Utilization: which codes an evaluation set uses, counted on the device. @module */

import { fill } from "../kernels/elementwise.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { countCodes } from "../kernels/quantizer_forward.ts";
import { Parameter, type Tensor } from "./tensor.ts";

/** A histogram of chosen codes over any number of batches. */
export class CodeUsage implements Disposable {
  readonly #counts: Parameter;

  /**
   * Starts with nothing counted.
   *
   * @param gpu The device.
   * @param codes Entries of the codebook.
   */
  constructor(gpu: Gpu, codes: number) {
    this.#counts = new Parameter(gpu, [codes], { dtype: "u32", trainable: false });
    fill(gpu, this.#counts.storage, 0);
  }

  /**
   * Counts the codes of a batch; nothing is read back.
   *
   * @param indices Numbers of codes, u32, any shape; numbers past the codebook are not counted.
   * @throws {TypeError} If `indices` does not hold integers.
   */
  add(indices: Tensor): void {
    if (indices.dtype !== "u32") {
      throw new TypeError(`Cannot count codes: expected dtype u32, found ${indices.dtype}`);
    }
    countCodes(indices.tape.gpu, { indices: indices.storage, counts: this.#counts.storage });
  }

  /**
   * Reads the histogram back.
   *
   * @returns How often each code was chosen so far.
   */
  async counts(): Promise<Uint32Array> {
    const { gpu, storage } = this.#counts;
    const [bytes] = await gpu.read([storage]);
    return new Uint32Array(bytes!);
  }

  /**
   * Reads back how much of the codebook is used.
   *
   * @returns Share of the codes that were chosen at least once, 0 to 1.
   */
  async utilization(): Promise<number> {
    const counts = await this.counts();
    return counts.filter((count) => count > 0).length / counts.length;
  }

  /** Gives the buffer back. */
  [Symbol.dispose](): void {
    this.#counts[Symbol.dispose]();
  }
}

/** Watches results for NaN and infinity on the GPU, and knows which op made the first. @module */

import { flagNonFinite } from "../kernels/finite.ts";
import type { Gpu } from "../kernels/gpu.ts";
import type { Slice } from "../kernels/slice.ts";
import type { Operand } from "./tensor.ts";

/** Flags of one buffer: so many results, 4 bytes each. */
const FLAGS_OF_A_BLOCK = 4096;

/**
 * A flag for every result that it is shown. A flag is set by the bits of the elements when the work recorded so far has run, so what
 * was looked at may be freed at once, and one read of all flags tells the first.
 */
export class Sentinel implements Disposable {
  readonly #gpu: Gpu;
  readonly #blocks: Slice[] = [];
  readonly #names: string[] = [];

  /**
   * Starts with nothing seen.
   *
   * @param gpu The device.
   */
  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /**
   * Records a look at a result; integers are finite.
   *
   * @param name What made it.
   * @param x The result.
   */
  watch(name: string, x: Operand): void {
    if (x.dtype === "u32") return;
    const flag = this.#names.length % FLAGS_OF_A_BLOCK;
    if (flag === 0) {
      const block = this.#gpu.acquire(4 * FLAGS_OF_A_BLOCK, "flags of results that are not finite");
      this.#gpu.clear(block);
      this.#blocks.push(block);
    }
    this.#names.push(name);
    flagNonFinite(this.#gpu, { x: x.storage, flags: this.#blocks.at(-1)!, flag });
  }

  /**
   * Reads the flags, with one wait.
   *
   * @returns The name of the first result, in the order of the looks, that is not finite; undefined if all are.
   */
  async first(): Promise<string | undefined> {
    if (this.#names.length === 0) return undefined;
    const names = [...this.#names];
    const blocks = await this.#gpu.read(this.#blocks);
    for (const [block, bytes] of blocks.entries()) {
      const flag = new Uint32Array(bytes).indexOf(1);
      if (flag >= 0) return names[block * FLAGS_OF_A_BLOCK + flag];
    }
    return undefined;
  }

  /** Gives the flags back; a read that is pending still gets them. */
  [Symbol.dispose](): void {
    for (const block of this.#blocks.splice(0)) this.#gpu.release(block);
    this.#names.length = 0;
  }
}

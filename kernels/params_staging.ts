/** The parameters of all dispatches of a submit, collected on the host and written in one transfer. @module */

import type { Kernel } from "./kernel.ts";
import { paramsBytes } from "./pipeline_cache.ts";

/** Parameters of about a thousand dispatches. */
export const STAGING_BYTES = 256 * 1024;

/** One region of {@linkcode STAGING_BYTES} bytes that dispatches fill from its start; each binds it at its own offset. */
export class ParamsStaging {
  readonly #view = new DataView(new ArrayBuffer(STAGING_BYTES));
  readonly #alignment: number;
  #bytes = 0;

  /**
   * Starts empty.
   *
   * @param alignment Offsets of uniform bindings are multiples of this many bytes.
   */
  constructor(alignment: number) {
    this.#alignment = alignment;
  }

  /**
   * Says whether the parameters of one more dispatch fit.
   *
   * @param kernel The kernel.
   * @returns False if the region has to be written first.
   */
  fits(kernel: Kernel): boolean {
    return this.#bytes + paramsBytes(kernel) <= STAGING_BYTES;
  }

  /**
   * Adds the parameters of a dispatch.
   *
   * @param kernel The kernel, which says the layout.
   * @param params Every field of its `struct Params`; others are ignored.
   * @param operation Named in the error.
   * @returns Their offset in the region.
   * @throws {TypeError} If a field is missing.
   */
  add(kernel: Kernel, params: Readonly<Record<string, number>>, operation: string): number {
    const offset = this.#bytes;
    for (const [name, field] of kernel.fields) {
      const value = params[name];
      if (value === undefined) {
        const found = Object.keys(params).join(", ") || "none";
        throw new TypeError(`Cannot run ${operation}: expected parameter ${name}, found ${found}`);
      }
      const at = offset + field.offset;
      if (field.type === "f32") this.#view.setFloat32(at, value, true);
      else if (field.type === "u32") this.#view.setUint32(at, value, true);
      else this.#view.setInt32(at, value, true);
    }
    const end = offset + paramsBytes(kernel);
    this.#bytes = Math.ceil(end / this.#alignment) * this.#alignment;
    return offset;
  }

  /**
   * Takes what was added and starts anew.
   *
   * @returns The bytes; valid until the next call of {@linkcode ParamsStaging.add}.
   */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#view.buffer as ArrayBuffer, 0, this.#bytes);
    this.#bytes = 0;
    return bytes;
  }
}

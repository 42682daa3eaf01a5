/** Damaged copies of files, the same in every run, for tests of everything that reads files. @module */

import { mix32 } from "../models/hash.ts";

/** How a copy is damaged. */
export type Damage = "cut" | "flipped byte" | "wrong length";

/** Every kind of damage. */
export const DAMAGES: readonly Damage[] = ["cut", "flipped byte", "wrong length"];

/** Where a format keeps a number that says how long something is. */
export interface LengthField {
  /** Position of its first byte; by default anywhere. */
  readonly at?: number;
  /** Bytes of the number; default 4. */
  readonly bytes?: number;
}

/**
 * Damages a copy of a file.
 *
 * @param bytes The whole file; left as it is.
 * @param damage `cut` leaves a beginning, `flipped byte` changes one byte, `wrong length` overwrites a length by any other.
 * @param options `number`: which of the copies; `length`: the place for `wrong length`.
 * @returns The copy; the same for the same arguments, and never equal to the file.
 */
export function corrupted(
  bytes: Uint8Array,
  damage: Damage,
  options: { readonly number: number; readonly length?: LengthField },
): Uint8Array<ArrayBuffer> {
  const { number, length: { at, bytes: fieldBytes = 4 } = {} } = options;
  const draw = (choice: number): number => mix32(mix32(number + 1) ^ mix32(choice)) / 2 ** 32;
  const copy = new Uint8Array(bytes);
  const place = Math.floor(draw(0) * bytes.length);
  switch (damage) {
    case "cut":
      return copy.subarray(0, place);
    case "flipped byte":
      copy[place] = (copy[place] ?? 0) ^ (1 + Math.floor(draw(1) * 255));
      return copy;
    case "wrong length": {
      const start = Math.min(at ?? place, Math.max(0, bytes.length - fieldBytes));
      for (let i = 0; i < fieldBytes && start + i < bytes.length; i++) {
        copy[start + i] = Math.floor(draw(2 + i) * 256);
      }
      if (copy.every((byte, i) => byte === bytes[i])) copy[start] = (copy[start] ?? 0) ^ 1;
      return copy;
    }
  }
}

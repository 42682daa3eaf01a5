/** Small parameters side by side in few buffers, so that one dispatch serves many of them. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { MemoryUse } from "../kernels/pool.ts";
import type { Slice } from "../kernels/slice.ts";

/** Larger ones keep a buffer of their own: a dispatch for each costs nothing beside its work. */
const LARGE_BYTES = 1 << 20;
/** Bytes of a shared buffer, at most. */
const SHARED_BYTES = 1 << 26;
/** Slices start at multiples of this many bytes, which every adapter can bind. */
const ALIGNMENT = 256;

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** Buffers that many slices share. It owns them until it is disposed. */
export class Arena implements Disposable {
  /** The slices, in the order of the wanted sizes. Their elements and those between them are undefined. */
  readonly slices: readonly Slice[];
  readonly #gpu: Gpu;
  readonly #buffers: Slice[] = [];

  /**
   * Takes buffers.
   *
   * @param gpu The device.
   * @param sizes Bytes of each slice.
   * @param options `purpose`: named in memory errors; `use`: what its bytes count as.
   */
  constructor(
    gpu: Gpu,
    sizes: readonly number[],
    { purpose, use }: { purpose: string; use: MemoryUse },
  ) {
    this.#gpu = gpu;
    const slices: Slice[] = [];
    let shared: { bytes: number; places: { at: number; offset: number }[] } = {
      bytes: 0,
      places: [],
    };
    const close = (): void => {
      if (shared.bytes === 0) return;
      const buffer = this.#acquire(shared.bytes, purpose, use);
      for (const { at, offset } of shared.places) {
        slices[at] = { ...buffer, offsetBytes: offset, bytes: sizes[at]! };
      }
      shared = { bytes: 0, places: [] };
    };
    for (const [at, bytes] of sizes.entries()) {
      if (bytes > LARGE_BYTES) {
        slices[at] = this.#acquire(bytes, purpose, use);
        continue;
      }
      if (shared.bytes + padded(bytes) > SHARED_BYTES) close();
      shared.places.push({ at, offset: shared.bytes });
      shared.bytes += padded(bytes);
    }
    close();
    this.slices = slices;
  }

  /** Sets all bytes to zero, those between the slices included. */
  clear(): void {
    for (const buffer of this.#buffers) this.#gpu.clear(buffer);
  }

  /** Gives the buffers back. */
  [Symbol.dispose](): void {
    for (const buffer of this.#buffers.splice(0)) this.#gpu.release(buffer);
  }

  #acquire(bytes: number, purpose: string, use: MemoryUse): Slice {
    const buffer = this.#gpu.acquire(bytes, purpose, use);
    this.#buffers.push(buffer);
    return buffer;
  }
}

/** Entries whose slices lie side by side in every one of their buffers. */
export interface Run<Entry> {
  /** The entries, in order. */
  readonly entries: readonly Entry[];
  /** Slice of each kind: of the only entry, or over those of all entries, padding between and behind them included. */
  readonly slices: readonly Slice[];
}

/**
 * Joins neighbors in arenas, so that one dispatch serves a run of them.
 *
 * @param entries In the order in which the arenas were laid out.
 * @param slicesOf Slices of an entry, one a kind (parameters, moments, …), all of the same length.
 * @param joins Whether two neighbors may be served together. Default: always.
 * @returns The runs, in order.
 */
export function runsOf<Entry>(
  entries: readonly Entry[],
  slicesOf: (entry: Entry) => readonly Slice[],
  joins: (a: Entry, b: Entry) => boolean = () => true,
): Run<Entry>[] {
  const runs: { entries: Entry[]; slices: Slice[] }[] = [];
  for (const entry of entries) {
    const slices = slicesOf(entry);
    const last = runs.at(-1);
    if (
      last && joins(last.entries[0]!, entry) &&
      slices.every((slice, kind) => follows(last.slices[kind]!, slice))
    ) {
      last.entries.push(entry);
      last.slices = last.slices.map((slice, kind) => ({
        ...slice,
        bytes: slices[kind]!.offsetBytes + padded(slices[kind]!.bytes) - slice.offsetBytes,
      }));
    } else {
      runs.push({ entries: [entry], slices: [...slices] });
    }
  }
  return runs;
}

/** Whether `b` starts where the padding behind `a` ends. */
function follows(a: Slice, b: Slice): boolean {
  return a.buffer === b.buffer && b.offsetBytes === a.offsetBytes + padded(a.bytes);
}

/**
 * Copies slices of one run of an arena into a buffer of the same layout, zeros between them.
 *
 * @param gpu The device.
 * @param layout The run's slice in the arena.
 * @param parts Where each part lies in the arena, and what is copied there.
 * @param purpose Named in memory errors.
 * @returns The buffer; give it back.
 */
export function gather(
  gpu: Gpu,
  layout: Slice,
  parts: readonly { place: Slice; source: Slice }[],
  purpose: string,
): Slice {
  const gathered = gpu.acquire(layout.bytes, purpose);
  gpu.clear(gathered);
  for (const { place, source } of parts) {
    const offsetBytes = place.offsetBytes - layout.offsetBytes;
    gpu.copy(source, { ...gathered, offsetBytes, bytes: source.bytes });
  }
  return gathered;
}

/** Kernels in two widths: a lane handles four neighboring channels where their number allows it, else one. @module */

import common from "./common.wgsl" with { type: "text" };
import { defineKernel, type Kernel } from "./kernel.ts";
import packF32 from "./pack_f32.wgsl" with { type: "text" };
import packVec4 from "./pack_vec4.wgsl" with { type: "text" };
import special from "./special.wgsl" with { type: "text" };

/** One WGSL text over the type `Pack` (in memory: `StoredPack`), compiled for both widths. */
export interface PackedKernel {
  /** `Pack` is `f32`. */
  readonly scalar: Kernel;
  /** `Pack` is `vec4f`. */
  readonly vector: Kernel;
}

/** What {@linkcode packFor} chose. */
export interface PackChoice {
  /** The kernel of that width. */
  kernel: Kernel;
  /** Packs of one row of channels. */
  packs: number;
}

/**
 * Defines a kernel whose text is written over `Pack` (and may call the functions of pack_f32.wgsl).
 *
 * @param name Name of the kernel in labels, errors and profiles.
 * @param source Its WGSL; common.wgsl, special.wgsl and the definition of `Pack` are joined in front.
 * @returns Both widths.
 */
export function definePackedKernel(name: string, source: string): PackedKernel {
  return {
    scalar: defineKernel(name, common, special, packF32, source),
    vector: defineKernel(name, common, special, packVec4, source),
  };
}

/**
 * Chooses the width for rows of `channels` elements.
 *
 * @param kernel Both widths.
 * @param channels Elements of a row.
 * @returns The kernel, and how many packs a row has.
 */
export function packFor(kernel: PackedKernel, channels: number): PackChoice {
  return channels % 4 === 0
    ? { kernel: kernel.vector, packs: channels / 4 }
    : { kernel: kernel.scalar, packs: channels };
}

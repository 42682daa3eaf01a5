/** Kernels in two widths: a lane handles four neighboring channels where their number allows it, else one. @module */

import common from "./common.wgsl" with { type: "text" };
import type { Gpu, RunOptions } from "./gpu.ts";
import { defineKernel, type Kernel } from "./kernel.ts";
import packF32 from "./pack_f32.wgsl" with { type: "text" };
import packVec4 from "./pack_vec4.wgsl" with { type: "text" };
import special from "./special.wgsl" with { type: "text" };
import type { Slice } from "./slice.ts";
import { fitsTexelCopy } from "./texel_pool.ts";
import texelsText from "./texels.wgsl" with { type: "text" };

/** One WGSL text over the type `Pack` (in memory: `StoredPack`), compiled for both widths. */
export interface PackedKernel {
  /** `Pack` is `f32`. */
  readonly scalar: Kernel;
  /** `Pack` is `vec4f`. */
  readonly vector: Kernel;
  /** `Pack` is `vec4f`, and the inputs are in textures; undefined for a kernel without inputs. */
  readonly texels: Kernel | undefined;
  /** Names of the inputs. */
  readonly inputs: ReadonlySet<string>;
  /** Whether it loads each element of its large inputs about once. */
  readonly streams: boolean;
}

/** An array that a kernel only reads, pack by pack. */
export interface PackedInput {
  /** `@binding(n)`. */
  binding: number;
  /** Type of its elements in memory: f32 or f16 as the outputs, or always f32. Default: StoredPack. */
  type?: "StoredPack" | "Pack";
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
 * @param inputs Arrays that {@linkcode runPacked} may bind as textures: the text does not declare `x` but calls `xAt(i)`, a `Pack`.
 * @param options `streams`: whether it loads each element of its large inputs about once.
 * @returns Both widths.
 */
export function definePackedKernel(
  name: string,
  source: string,
  inputs: Readonly<Record<string, PackedInput>> = {},
  { streams = false }: { streams?: boolean } = {},
): PackedKernel {
  const inBuffers = Object.entries(inputs).map(([input, { binding, type = "StoredPack" }]) =>
    `@group(0) @binding(${binding}) var<storage, read> ${input}: array<${type}>;
fn ${input}At(i: u32) -> Pack { return Pack(${input}[i]); }`
  );
  const inTextures = Object.entries(inputs).map(([input, { binding }]) =>
    `@group(0) @binding(${binding}) var ${input}: Texels;
fn ${input}At(i: u32) -> Pack { return texelAt(${input}, i); }`
  );
  const texels = inTextures.length > 0;
  return {
    scalar: defineKernel(name, common, special, packF32, ...inBuffers, source),
    vector: defineKernel(name, common, special, packVec4, ...inBuffers, source),
    texels: texels
      ? defineKernel(name, common, special, packVec4, texelsText, ...inTextures, source)
      : undefined,
    inputs: new Set(Object.keys(inputs)),
    streams,
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

/**
 * Records a dispatch of a packed kernel. Where it pays, its inputs are copied into textures.
 *
 * @param gpu The device.
 * @param kernel Both widths.
 * @param channels Elements of a row, which decide the width.
 * @param entryPoint Its entry point.
 * @param options As for {@linkcode Gpu.run}.
 */
export function runPacked(
  gpu: Gpu,
  kernel: PackedKernel,
  channels: number,
  entryPoint: string,
  options: RunOptions,
): void {
  const { kernel: chosen } = packFor(kernel, channels);
  const inputs = Object.entries(options.buffers).filter(([name]) => kernel.inputs.has(name));
  const least = kernel.streams ? gpu.leastStreamBytes : gpu.leastTexelBytes;
  const paying = kernel.texels !== undefined && chosen === kernel.vector && inputs.length > 0 &&
    inputs.every(([, slice]) => fitsTexelCopy(slice)) &&
    inputs.some(([, { bytes }]) => bytes >= least);
  if (!paying) return gpu.run(chosen, entryPoint, options);
  const copies = new Map<Slice, Slice>();
  const buffers: Record<string, Slice> = { ...options.buffers };
  for (const [name, slice] of inputs) {
    if (!copies.has(slice)) copies.set(slice, gpu.copyToTexels(slice));
    buffers[name] = copies.get(slice)!;
  }
  gpu.run(kernel.texels, entryPoint, { ...options, buffers });
  for (const copy of copies.values()) gpu.release(copy);
}

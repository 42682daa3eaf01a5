/** Pipelines and bind groups, made once for each kernel, set of constants and set of buffers. @module */

import { GpuError } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import type { Slice } from "./slice.ts";

/** Bind groups kept; a training step reuses its own. */
const MOST_BIND_GROUPS = 16384;

/** A compiled entry point and the layout of its bindings. */
export interface Pipeline {
  /** What a pass runs. */
  readonly pipeline: GPUComputePipeline;
  /** Layout of its bind group: the same object for equal layouts. */
  readonly layout: GPUBindGroupLayout;
}

/** A pipeline and what it was made for. */
interface KnownPipeline extends Pipeline {
  readonly names: readonly string[];
  readonly constants: Readonly<Record<string, number>>;
}

/** A bind group and what it binds. */
interface KnownBindGroup {
  readonly group: GPUBindGroup;
  readonly layout: GPUBindGroupLayout;
  readonly paramsBytes: number;
  readonly slices: readonly Slice[];
}

/** What is bound to which entry point. */
export interface Binding {
  /** The kernel. */
  readonly kernel: Kernel;
  /** Its entry point. */
  readonly entryPoint: string;
  /** Storage bindings by variable name. */
  readonly buffers: Readonly<Record<string, Slice>>;
}

/** What a pipeline is made of, as texts and numbers: another process can compile it from this. */
export interface PipelineDescription {
  /** Name of the kernel. */
  readonly name: string;
  /** Its text. */
  readonly source: string;
  /** Its entry point. */
  readonly entryPoint: string;
  /** Values of `override` constants. */
  readonly constants: Readonly<Record<string, number>>;
  /** Names of the storage bindings. */
  readonly buffers: readonly string[];
}

/** Options of a {@linkcode PipelineCache}. */
export interface PipelineCacheOptions {
  /** The largest storage binding, in bytes. */
  readonly maxBindingBytes: number;
  /** The buffer that holds the parameters of all dispatches. */
  readonly uniform: GPUBuffer;
  /** Called when the device refuses a pipeline, some time after it was asked for. */
  readonly onError: (error: GpuError) => void;
  /** Called with every new pipeline. */
  readonly onPipeline: (description: PipelineDescription) => void;
}

/** Makes pipelines and bind groups, and checks that what is bound is what the kernel declares. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #options: PipelineCacheOptions;
  /** By text and entry point. Those of an entry point are few: to compare them costs less than to make a key. */
  readonly #pipelines = new Map<string, Map<string, KnownPipeline[]>>();
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  /** By a number that is equal for equal bindings, and seldom for others. */
  readonly #bindGroups = new Map<number, KnownBindGroup[]>();
  readonly #ids = new WeakMap<GPUBuffer | GPUTexture, number>();
  #nextId = 0;
  #made = 0;
  #madeGroups = 0;

  /**
   * Starts empty.
   *
   * @param device The device.
   * @param options Limit, buffer of parameters, and who hears of errors.
   */
  constructor(device: GPUDevice, options: PipelineCacheOptions) {
    this.#device = device;
    this.#options = options;
  }

  /**
   * Compiles an entry point.
   *
   * @param binding The entry point and what it is bound to.
   * @param constants Values of `override` constants.
   * @returns The pipeline; the device may refuse it later.
   * @throws {TypeError} If the entry point or a buffer is unknown, or a buffer is missing.
   * @throws {GpuError} If the kernel needs f16 and the adapter has none.
   */
  pipeline(binding: Binding, constants: Readonly<Record<string, number>>): Pipeline {
    const { kernel, entryPoint } = binding;
    let byEntryPoint = this.#pipelines.get(kernel.source);
    if (!byEntryPoint) this.#pipelines.set(kernel.source, byEntryPoint = new Map());
    let variants = byEntryPoint.get(entryPoint);
    if (!variants) byEntryPoint.set(entryPoint, variants = []);
    for (const known of variants) if (isFor(known, binding.buffers, constants)) return known;
    const names = Object.keys(binding.buffers);
    const entries = layoutEntries(binding);
    const operation = `${kernel.name}.${entryPoint}`;
    const device = this.#device;
    if (kernel.needsHalf && !device.features.has("shader-f16")) {
      throw new GpuError(
        operation,
        "expected an adapter that computes with f16 (feature shader-f16), found one without",
      );
    }
    device.pushErrorScope("validation");
    const layoutKey = entries.map(({ binding, buffer, storageTexture }) =>
      `${binding}${storageTexture?.format ?? buffer!.type}`
    ).join();
    let layout = this.#layouts.get(layoutKey);
    if (!layout) this.#layouts.set(layoutKey, layout = device.createBindGroupLayout({ entries }));
    let module = this.#modules.get(kernel.source);
    if (!module) {
      module = device.createShaderModule({ label: kernel.name, code: kernel.source });
      this.#modules.set(kernel.source, module);
    }
    const pipeline = device.createComputePipeline({
      label: operation,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint, constants },
    });
    device.popErrorScope().then((error) => {
      if (error) this.#options.onError(new GpuError(operation, error.message));
    });
    const made = { pipeline, layout, names, constants };
    variants.push(made);
    this.#made++;
    const { name, source } = kernel;
    this.#options.onPipeline({ name, source, entryPoint, constants, buffers: names });
    return made;
  }

  /**
   * Binds buffers to a pipeline.
   *
   * @param pipeline What {@linkcode PipelineCache.pipeline} returned for the same binding.
   * @param binding The entry point and what it is bound to.
   * @returns The bind group.
   * @throws {RangeError} If a slice is larger than the adapter's largest binding.
   * @throws {TypeError} If a buffer that the kernel writes is also one that it reads.
   */
  bindGroup(pipeline: Pipeline, { kernel, entryPoint, buffers }: Binding): GPUBindGroup {
    const { maxBindingBytes, uniform } = this.#options;
    const { layout } = pipeline;
    // Kernels with equal layouts may have parameters of different sizes.
    const ownParams = kernel.paramsBinding >= 0 ? paramsBytes(kernel) : 0;
    let hash = ownParams;
    for (const name in buffers) {
      const { buffer, offsetBytes, bytes, texture } = buffers[name]!;
      if ((texture !== undefined) !== (kernel.bindings.get(name)!.texels ?? false)) {
        throw new TypeError(
          `Cannot run ${kernel.name}.${entryPoint}: expected ${name} in a ${
            texture ? "buffer" : "texture"
          }, found it in a ${texture ? "texture" : "buffer"}`,
        );
      }
      if (bytes > maxBindingBytes && !texture) {
        throw new RangeError(
          `Cannot run ${kernel.name}.${entryPoint}: expected ${name} of at most ${maxBindingBytes} bytes (the adapter's largest binding), found ${bytes}`,
        );
      }
      hash = Math.imul(hash ^ this.#idOf(texture ?? buffer), 0x01000193) ^ offsetBytes + bytes;
    }
    let groups = this.#bindGroups.get(hash);
    for (const known of groups ?? []) {
      if (known.layout === layout && known.paramsBytes === ownParams && binds(known, buffers)) {
        return known.group;
      }
    }
    const operation = `${kernel.name}.${entryPoint}`;
    assertNoAlias(operation, kernel, buffers);
    const entries: GPUBindGroupEntry[] = Object.entries(buffers).map(([name, slice]) => ({
      binding: kernel.bindings.get(name)!.binding,
      // A size must be a positive multiple of 4; a tensor without elements still binds one.
      resource: slice.texture?.createView() ?? {
        buffer: slice.buffer,
        offset: slice.offsetBytes,
        size: Math.max(4, Math.ceil(slice.bytes / 4) * 4),
      },
    }));
    if (kernel.paramsBinding >= 0) {
      const resource = { buffer: uniform, offset: 0, size: ownParams };
      entries.push({ binding: kernel.paramsBinding, resource });
    }
    if (this.#bindGroups.size >= MOST_BIND_GROUPS) {
      this.#bindGroups.clear();
      groups = undefined;
    }
    const group = this.#device.createBindGroup({ label: operation, layout, entries });
    this.#madeGroups++;
    if (!groups) this.#bindGroups.set(hash, groups = []);
    groups.push({ group, layout, paramsBytes: ownParams, slices: Object.values(buffers) });
    return group;
  }

  /** Pipelines made so far. */
  get pipelines(): number {
    return this.#made;
  }

  /** Bind groups made so far. */
  get bindGroups(): number {
    return this.#madeGroups;
  }

  /** Forgets all bind groups, before a buffer is destroyed. */
  clearBindGroups(): void {
    this.#bindGroups.clear();
  }

  #idOf(resource: GPUBuffer | GPUTexture): number {
    let id = this.#ids.get(resource);
    if (id === undefined) this.#ids.set(resource, id = this.#nextId++);
    return id;
  }
}

/**
 * Counts the bytes of `struct Params` in a uniform buffer.
 *
 * @param kernel The kernel.
 * @returns A multiple of 16.
 */
export function paramsBytes(kernel: Kernel): number {
  return Math.ceil(kernel.fields.size / 4) * 16;
}

/** Whether a pipeline was made for buffers of these names, in this order, and for these constants. */
function isFor(
  { names, constants }: KnownPipeline,
  wantedBuffers: Readonly<Record<string, Slice>>,
  wanted: Readonly<Record<string, number>>,
): boolean {
  let i = 0;
  for (const name in wantedBuffers) if (names[i++] !== name) return false;
  if (i !== names.length) return false;
  for (const name in wanted) if (constants[name] !== wanted[name]) return false;
  for (const name in constants) if (!(name in wanted)) return false;
  return true;
}

/** Whether a bind group binds these ranges, in this order. */
function binds({ slices }: KnownBindGroup, buffers: Readonly<Record<string, Slice>>): boolean {
  let i = 0;
  for (const name in buffers) {
    const known = slices[i++];
    const { buffer, texture, offsetBytes, bytes } = buffers[name]!;
    if (
      known?.buffer !== buffer || known.texture !== texture || known.offsetBytes !== offsetBytes ||
      known.bytes !== bytes
    ) return false;
  }
  return i === slices.length;
}

function layoutEntries({ kernel, entryPoint, buffers }: Binding): GPUBindGroupLayoutEntry[] {
  const uses = kernel.entryPoints.get(entryPoint);
  const refuse = (expected: string, found: string): never => {
    throw new TypeError(
      `Cannot run ${kernel.name}.${entryPoint}: expected ${expected}, found ${found}`,
    );
  };
  if (!uses) return refuse(`one of ${[...kernel.entryPoints.keys()].join(", ")}`, entryPoint);
  const names = Object.keys(buffers);
  for (const used of uses) {
    if (!names.includes(used)) refuse(`buffer ${used}`, names.join(", ") || "none");
  }
  const visibility = GPUShaderStage.COMPUTE;
  const entries: GPUBindGroupLayoutEntry[] = names.map((name) => {
    const found = kernel.bindings.get(name) ??
      refuse(`buffers among ${[...kernel.bindings.keys()].join(", ")}`, name);
    if (found.texels) {
      return { binding: found.binding, visibility, storageTexture: TEXEL_LAYOUT };
    }
    const type = found.uniform ? "uniform" : found.writable ? "storage" : "read-only-storage";
    return { binding: found.binding, visibility, buffer: { type } };
  });
  if (kernel.paramsBinding >= 0) {
    const buffer = { type: "uniform", hasDynamicOffset: true } as const;
    entries.push({ binding: kernel.paramsBinding, visibility, buffer });
  }
  return entries;
}

/** `Texels` of texels.wgsl. */
const TEXEL_LAYOUT = { access: "read-only", format: "rgba32float" } as const;

/** A device allows one use of a buffer in a dispatch, whichever ranges are bound. */
function assertNoAlias(
  operation: string,
  kernel: Kernel,
  buffers: Readonly<Record<string, Slice>>,
): void {
  const written = new Map<GPUBuffer, string>();
  for (const [name, { buffer }] of Object.entries(buffers)) {
    if (kernel.bindings.get(name)!.writable) written.set(buffer, name);
  }
  for (const [name, { buffer, texture }] of Object.entries(buffers)) {
    const writer = texture ? undefined : written.get(buffer);
    if (writer !== undefined && !kernel.bindings.get(name)!.writable) {
      throw new TypeError(
        `Cannot run ${operation}: expected ${writer}, which is written, in a buffer of its own, found it in that of ${name}`,
      );
    }
  }
}

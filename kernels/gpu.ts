/** The device: opens the adapter, batches dispatches into few submits, stages parameters, moves data in and out, counts. @module */

import { GpuError } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import { BufferPool, type PoolStats } from "./pool.ts";
import type { Slice } from "./slice.ts";

/** Options of {@linkcode Gpu.open}. */
export interface GpuOptions {
  /** Live and pooled buffers together never pass this many bytes. Default: no budget but the adapter's. */
  byteBudget?: number;
  /** Pretend that the adapter binds at most this many bytes: tests use it to make small tensors take the ranged paths. */
  maxBindingBytes?: number;
}

/** What is known of the adapter. */
export interface AdapterDescription {
  /** Name as the driver gives it. */
  name: string;
  /** Vendor, as the driver gives it. */
  vendor: string;
  /** Whether the adapter computes on the CPU: tiles and workgroup sizes follow it. */
  software: boolean;
}

/** Counters of a {@linkcode Gpu}. */
export interface GpuStats extends PoolStats {
  /** Dispatches so far. */
  dispatches: number;
  /** Submits so far. */
  submits: number;
}

/** How often, and over what, an entry point runs. */
export interface RunOptions {
  /** Storage bindings by variable name: exactly those that the entry point uses. */
  buffers: Readonly<Record<string, Slice>>;
  /** Every field of `struct Params`. */
  params?: Readonly<Record<string, number>>;
  /** Values of `override` constants; `THREADS` has a default by adapter. */
  constants?: Readonly<Record<string, number>>;
  /** Invocations wanted: workgroups of `THREADS`, in a second dimension where the first is full (see `flatIndex` in common.wgsl). */
  threads?: number;
  /** Workgroups by dimension; instead of `threads`. */
  workgroups?: readonly [number, number?, number?];
}

/** Lanes of a workgroup: a software adapter runs 8 lanes in step, a GPU wants more. */
const SOFTWARE_THREADS = 8;
const GPU_THREADS = 64;
/** Invocations from which a software adapter, too, has workgroups for every core at the size of a GPU's; each of them costs time. */
const MANY_INVOCATIONS = 4096;
/** Parameters of about a thousand dispatches; a full region submits early. */
const STAGING_BYTES = 256 * 1024;
const BIND_GROUP_CACHE = 16384;

interface Pipeline {
  pipeline: GPUComputePipeline;
  layout: GPUBindGroupLayout;
  layoutKey: string;
}

/**
 * A GPU (or software adapter) opened for compute.
 *
 * Dispatches are recorded into one encoder and submitted together by {@linkcode Gpu.flush}, which reading does. Failures that the
 * device reports late are thrown by the next flush or read.
 */
export class Gpu implements Disposable {
  /** What is known of the adapter. */
  readonly adapter: AdapterDescription;
  /** The device's limits: the adapter's own. */
  readonly limits: GPUSupportedLimits;
  /** Features that were present and are enabled. */
  readonly features: ReadonlySet<string>;
  /** The largest storage binding, in bytes. */
  readonly maxBindingBytes: number;
  /** Offsets of storage bindings are multiples of this many bytes. */
  readonly offsetAlignment: number;
  /** Default `THREADS` of a dispatch that is given in workgroups; one given in `threads` may take more. */
  readonly threads: number;
  readonly #device: GPUDevice;
  readonly #pool: BufferPool;
  readonly #uniform: GPUBuffer;
  readonly #uniformAlignment: number;
  readonly #staging = new DataView(new ArrayBuffer(STAGING_BYTES));
  #stagedBytes = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  readonly #pipelines = new Map<string, Map<string, Pipeline>>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  #bindGroups = new Map<string, GPUBindGroup>();
  readonly #bufferIds = new WeakMap<GPUBuffer, number>();
  #nextBufferId = 0;
  readonly #readBuffers: GPUBuffer[] = [];
  readonly #recent = new Set<string>();
  #failure: GpuError | undefined;
  #dispatches = 0;
  #submits = 0;
  #closed = false;

  private constructor(device: GPUDevice, adapter: AdapterDescription, options: GpuOptions) {
    this.#device = device;
    this.adapter = adapter;
    this.limits = device.limits;
    this.features = new Set<string>(device.features as Iterable<string>);
    this.maxBindingBytes = Math.min(
      device.limits.maxStorageBufferBindingSize,
      options.maxBindingBytes ?? Infinity,
    );
    this.offsetAlignment = device.limits.minStorageBufferOffsetAlignment;
    this.#uniformAlignment = device.limits.minUniformBufferOffsetAlignment;
    this.threads = adapter.software ? SOFTWARE_THREADS : GPU_THREADS;
    this.#pool = new BufferPool(device, {
      byteBudget: options.byteBudget ?? Infinity,
      maxBufferBytes: device.limits.maxBufferSize,
      flush: () => this.#submit(),
      onDestroy: () => this.#bindGroups.clear(),
    });
    this.#uniform = device.createBuffer({
      label: "params",
      size: STAGING_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    device.addEventListener(
      "uncapturederror",
      (event) => this.#fail((event as GPUUncapturedErrorEvent).error.message),
    );
    device.lost.then((info) => {
      if (!this.#closed) this.#fail(`the device was lost (${info.reason}): ${info.message}`);
    });
  }

  /**
   * Opens the default adapter with its own limits and the features that kernels can use.
   *
   * @param options Budget and limits.
   * @returns The opened device; dispose it.
   * @throws {GpuError} If there is no WebGPU adapter.
   */
  static async open(options: GpuOptions = {}): Promise<Gpu> {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) {
      throw new GpuError(
        "requestAdapter",
        "expected a WebGPU adapter, found none; install a Vulkan driver (Debian: apt-get install mesa-vulkan-drivers libvulkan1)",
      );
    }
    const requiredLimits: Record<string, number> = {};
    for (const key in adapter.limits) {
      const value = adapter.limits[key as keyof GPUSupportedLimits];
      if (typeof value === "number") requiredLimits[key] = value;
    }
    // Some adapters report sizes that the device then refuses to create.
    requiredLimits.maxBufferSize = Math.min(requiredLimits.maxBufferSize ?? 0, 2 ** 31 - 1);
    const wanted: GPUFeatureName[] = ["shader-f16", "subgroups", "timestamp-query"];
    const requiredFeatures = wanted.filter((feature) => adapter.features.has(feature));
    const device = await adapter.requestDevice({ requiredLimits, requiredFeatures });
    const { info } = adapter;
    const name = info.description || info.device || info.architecture || "unknown adapter";
    const software = info.isFallbackAdapter || /llvmpipe|swiftshader|software|lavapipe/i.test(name);
    return new Gpu(device, { name, vendor: info.vendor, software }, options);
  }

  /**
   * Takes a buffer from the pool; its contents are undefined.
   *
   * @param bytes Wanted size.
   * @param purpose Named in errors.
   * @returns The whole of the wanted size; give it back by {@linkcode Gpu.release}.
   * @throws {GpuMemoryError} If it passes the budget or the adapter's largest buffer.
   */
  acquire(bytes: number, purpose = "a tensor"): Slice {
    return { buffer: this.#pool.acquire(bytes, purpose), offsetBytes: 0, bytes };
  }

  /**
   * Gives an acquired buffer back. Work that is already recorded still reads what it held.
   *
   * @param slice What {@linkcode Gpu.acquire} returned.
   */
  release(slice: Slice): void {
    if (!this.#closed) this.#pool.release(slice.buffer);
  }

  /**
   * Records one dispatch.
   *
   * @param kernel The kernel.
   * @param entryPoint Its entry point.
   * @param options Buffers, parameters, constants and size.
   * @throws {TypeError} If a binding, a parameter or the size is missing or unknown.
   * @throws {RangeError} If a binding or the number of workgroups passes a limit of the adapter.
   */
  run(kernel: Kernel, entryPoint: string, options: RunOptions): void {
    const operation = `${kernel.name}.${entryPoint}`;
    const constants: Record<string, number> = kernel.overrides.has("THREADS")
      ? { THREADS: this.#threadsFor(options), ...options.constants }
      : { ...options.constants };
    const workgroups = this.#workgroups(operation, constants, options);
    if (workgroups.includes(0)) return;
    const names = Object.keys(options.buffers);
    const entry = this.#pipeline(kernel, entryPoint, names, constants);
    const group = this.#bindGroup(operation, kernel, entry, options.buffers);
    const offset = kernel.paramsBinding < 0
      ? undefined
      : this.#stage(operation, kernel, options.params ?? {});
    this.#encoder ??= this.#device.createCommandEncoder();
    this.#pass ??= this.#encoder.beginComputePass();
    this.#pass.setPipeline(entry.pipeline);
    this.#pass.setBindGroup(0, group, offset === undefined ? [] : [offset]);
    this.#pass.dispatchWorkgroups(...workgroups);
    this.#recent.add(operation);
    this.#dispatches++;
  }

  /**
   * Records a copy between two slices of equal size.
   *
   * @param source What is read.
   * @param target What is written; must not overlap `source` in the same buffer.
   */
  copy(source: Slice, target: Slice): void {
    if (source.bytes !== target.bytes) {
      throw new RangeError(`Cannot copy: expected ${target.bytes} bytes, found ${source.bytes}`);
    }
    this.#copyEncoder().copyBufferToBuffer(
      source.buffer,
      source.offsetBytes,
      target.buffer,
      target.offsetBytes,
      source.bytes,
    );
  }

  /**
   * Records the filling of a slice with zero bytes.
   *
   * @param slice What is cleared.
   */
  clear(slice: Slice): void {
    this.#copyEncoder().clearBuffer(slice.buffer, slice.offsetBytes, slice.bytes);
  }

  /**
   * Writes host data. Recorded work is submitted first, because a queue write overtakes work that is only encoded.
   *
   * @param slice Where to.
   * @param data What; at most the slice's bytes, a multiple of 4.
   * @throws {RangeError} If the data is larger than the slice.
   */
  upload(slice: Slice, data: Float32Array | Uint32Array | Int32Array): void {
    if (data.byteLength > slice.bytes) {
      throw new RangeError(
        `Cannot upload ${data.byteLength} bytes: expected at most ${slice.bytes}`,
      );
    }
    this.flush();
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    this.#device.queue.writeBuffer(slice.buffer, slice.offsetBytes, bytes);
    // The queue keeps a second copy of the data until the next submit.
    if (data.byteLength > 1 << 20) this.#device.queue.submit([]);
  }

  /**
   * Reads slices back. The copies are recorded and submitted by the call itself, so the slices may be overwritten or released while
   * the promise is pending, and waiting for it later costs nothing meanwhile. One wait serves all slices.
   *
   * @param slices What to read.
   * @returns The bytes of each slice.
   * @throws {GpuError} If the device reported a failure.
   */
  read(slices: readonly Slice[]): Promise<ArrayBuffer[]> {
    const offsets: number[] = [];
    let bytes = 0;
    for (const slice of slices) {
      offsets.push(bytes);
      bytes += Math.ceil(slice.bytes / 8) * 8;
    }
    const staging = this.#takeReadBuffer(bytes);
    for (const [i, slice] of slices.entries()) {
      this.#copyEncoder().copyBufferToBuffer(
        slice.buffer,
        slice.offsetBytes,
        staging,
        offsets[i]!,
        slice.bytes,
      );
    }
    this.flush();
    return this.#finishRead(staging, slices, offsets);
  }

  /**
   * Submits what is recorded.
   *
   * @throws {GpuError} If the device reported a failure since the last call.
   */
  flush(): void {
    this.#throwFailure();
    this.#submit();
  }

  /**
   * Waits until everything recorded so far has run.
   *
   * @throws {GpuError} If the device reported a failure.
   */
  async settle(): Promise<void> {
    this.flush();
    await this.#device.queue.onSubmittedWorkDone();
    this.#throwFailure();
    this.#recent.clear();
  }

  /**
   * Destroys released buffers until at most `keepBytes` of them wait for reuse.
   *
   * @param keepBytes Default 0.
   */
  trim(keepBytes = 0): void {
    for (const buffer of this.#readBuffers.splice(0)) buffer.destroy();
    this.#pool.trim(keepBytes);
  }

  /**
   * Counts.
   *
   * @returns Bytes and counts now.
   */
  stats(): GpuStats {
    return { ...this.#pool.stats(), dispatches: this.#dispatches, submits: this.#submits };
  }

  /** Destroys every buffer and the device. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#submit();
    this.#closed = true;
    this.trim();
    this.#pool.destroy();
    this.#uniform.destroy();
    this.#device.destroy();
  }

  #threadsFor({ threads = 0 }: RunOptions): number {
    return threads >= MANY_INVOCATIONS ? GPU_THREADS : this.threads;
  }

  #submit(): void {
    if (!this.#encoder) return;
    this.#pass?.end();
    this.#pass = undefined;
    if (this.#stagedBytes > 0) {
      this.#device.queue.writeBuffer(
        this.#uniform,
        0,
        this.#staging.buffer as ArrayBuffer,
        0,
        this.#stagedBytes,
      );
      this.#stagedBytes = 0;
    }
    const commands = this.#encoder.finish();
    this.#encoder = undefined;
    this.#device.queue.submit([commands]);
    this.#submits++;
  }

  #copyEncoder(): GPUCommandEncoder {
    this.#pass?.end();
    this.#pass = undefined;
    return this.#encoder ??= this.#device.createCommandEncoder();
  }

  #fail(detail: string): void {
    const operations = [...this.#recent];
    const shown = operations.length > 12 ? [...operations.slice(-12), "…"] : operations;
    this.#failure ??= new GpuError(
      shown.length > 0 ? `one of ${shown.join(", ")}` : "the device",
      detail,
    );
  }

  #throwFailure(): void {
    if (this.#closed) throw new GpuError("a recorded operation", "the Gpu was disposed");
    if (this.#failure) throw this.#failure;
  }

  #workgroups(
    operation: string,
    constants: Record<string, number>,
    options: RunOptions,
  ): [number, number, number] {
    const limit = this.limits.maxComputeWorkgroupsPerDimension;
    let counts: [number, number, number];
    if (options.threads !== undefined) {
      const groups = Math.ceil(options.threads / constants.THREADS!);
      const rows = Math.max(1, Math.ceil(groups / limit));
      counts = [Math.ceil(groups / rows), groups === 0 ? 0 : rows, 1];
    } else if (options.workgroups) {
      counts = [options.workgroups[0], options.workgroups[1] ?? 1, options.workgroups[2] ?? 1];
    } else {
      throw new TypeError(`Cannot run ${operation}: expected threads or workgroups, found neither`);
    }
    if (counts.some((count) => !(count <= limit))) {
      throw new RangeError(
        `Cannot run ${operation}: expected at most ${limit} workgroups a dimension, found ${counts}`,
      );
    }
    return counts;
  }

  #pipeline(
    kernel: Kernel,
    entryPoint: string,
    names: string[],
    constants: Record<string, number>,
  ): Pipeline {
    const variant = `${entryPoint}|${names}|${JSON.stringify(constants)}`;
    let byVariant = this.#pipelines.get(kernel.source);
    if (!byVariant) this.#pipelines.set(kernel.source, byVariant = new Map());
    const known = byVariant.get(variant);
    if (known) return known;
    const operation = `${kernel.name}.${entryPoint}`;
    if (!kernel.entryPoints.has(entryPoint)) {
      throw new TypeError(
        `Cannot run ${operation}: expected one of ${
          [...kernel.entryPoints].join(", ")
        }, found ${entryPoint}`,
      );
    }
    const entries: GPUBindGroupLayoutEntry[] = names.map((name) => {
      const found = kernel.bindings.get(name);
      if (!found) {
        throw new TypeError(
          `Cannot run ${operation}: expected buffers among ${
            [...kernel.bindings.keys()].join(", ")
          }, found ${name}`,
        );
      }
      return {
        binding: found.binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: found.writable ? "storage" : "read-only-storage" },
      };
    });
    if (kernel.paramsBinding >= 0) {
      entries.push({
        binding: kernel.paramsBinding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "uniform", hasDynamicOffset: true },
      });
    }
    const device = this.#device;
    device.pushErrorScope("validation");
    const layoutKey = entries.map((entry) => `${entry.binding}${entry.buffer!.type}`).join();
    let layout = this.#layouts.get(layoutKey);
    if (!layout) this.#layouts.set(layoutKey, layout = device.createBindGroupLayout({ entries }));
    const module = device.createShaderModule({ label: kernel.name, code: kernel.source });
    const pipeline = device.createComputePipeline({
      label: operation,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint, constants },
    });
    device.popErrorScope().then((error) => {
      // Exact where the uncaptured error, which follows, would only name the candidates.
      if (error) this.#failure = new GpuError(operation, error.message);
    });
    const made = { pipeline, layout, layoutKey };
    byVariant.set(variant, made);
    return made;
  }

  #bindGroup(
    operation: string,
    kernel: Kernel,
    entry: Pipeline,
    buffers: Readonly<Record<string, Slice>>,
  ): GPUBindGroup {
    // Kernels with equal layouts may have parameters of different sizes.
    let key = `${entry.layoutKey}|${kernel.fields.size}`;
    for (const name in buffers) {
      const { buffer, offsetBytes, bytes } = buffers[name]!;
      if (bytes > this.maxBindingBytes) {
        throw new RangeError(
          `Cannot run ${operation}: expected ${name} of at most ${this.maxBindingBytes} bytes (the adapter's largest binding), found ${bytes}`,
        );
      }
      let id = this.#bufferIds.get(buffer);
      if (id === undefined) this.#bufferIds.set(buffer, id = this.#nextBufferId++);
      key += `|${id}:${offsetBytes}:${bytes}`;
    }
    const known = this.#bindGroups.get(key);
    if (known) return known;
    const entries: GPUBindGroupEntry[] = Object.entries(buffers).map(([name, slice]) => ({
      binding: kernel.bindings.get(name)!.binding,
      // A size must be a positive multiple of 4; a tensor without elements still binds one.
      resource: {
        buffer: slice.buffer,
        offset: slice.offsetBytes,
        size: Math.max(4, Math.ceil(slice.bytes / 4) * 4),
      },
    }));
    if (kernel.paramsBinding >= 0) {
      const size = Math.ceil(kernel.fields.size / 4) * 16;
      entries.push({
        binding: kernel.paramsBinding,
        resource: { buffer: this.#uniform, offset: 0, size },
      });
    }
    if (this.#bindGroups.size >= BIND_GROUP_CACHE) this.#bindGroups = new Map();
    const group = this.#device.createBindGroup({ label: operation, layout: entry.layout, entries });
    this.#bindGroups.set(key, group);
    return group;
  }

  #stage(operation: string, kernel: Kernel, params: Readonly<Record<string, number>>): number {
    const bytes = Math.ceil(kernel.fields.size / 4) * 16;
    if (this.#stagedBytes + bytes > STAGING_BYTES) this.#submit();
    const offset = this.#stagedBytes;
    for (const [name, field] of kernel.fields) {
      const value = params[name];
      if (value === undefined) {
        throw new TypeError(
          `Cannot run ${operation}: expected parameter ${name}, found ${
            Object.keys(params).join(", ")
          }`,
        );
      }
      if (field.type === "f32") this.#staging.setFloat32(offset + field.offset, value, true);
      else if (field.type === "u32") this.#staging.setUint32(offset + field.offset, value, true);
      else this.#staging.setInt32(offset + field.offset, value, true);
    }
    this.#stagedBytes = Math.ceil((offset + bytes) / this.#uniformAlignment) *
      this.#uniformAlignment;
    return offset;
  }

  #takeReadBuffer(bytes: number): GPUBuffer {
    const at = this.#readBuffers.findIndex((buffer) =>
      buffer.size >= bytes && buffer.size <= 4 * bytes + 4096
    );
    if (at >= 0) return this.#readBuffers.splice(at, 1)[0]!;
    return this.#device.createBuffer({
      label: "read",
      size: Math.max(256, bytes),
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
  }

  async #finishRead(
    staging: GPUBuffer,
    slices: readonly Slice[],
    offsets: number[],
  ): Promise<ArrayBuffer[]> {
    try {
      await staging.mapAsync(GPUMapMode.READ);
    } catch (error) {
      staging.destroy();
      this.#throwFailure();
      throw error;
    }
    const mapped = staging.getMappedRange();
    const parts = slices.map((slice, i) => mapped.slice(offsets[i]!, offsets[i]! + slice.bytes));
    staging.unmap();
    if (this.#closed || staging.size > 1 << 24) staging.destroy();
    else this.#readBuffers.push(staging);
    this.#throwFailure();
    return parts;
  }
}

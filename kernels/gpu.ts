/** The device: opens the adapter, batches dispatches into few submits, stages parameters, moves data in and out, counts. @module */

import { GpuError } from "./errors.ts";
import { type Kernel, kernelFor } from "./kernel.ts";
import { ParamsStaging, STAGING_BYTES } from "./params_staging.ts";
import { PipelineCache } from "./pipeline_cache.ts";
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
  /** Lanes of a subgroup, where the device has subgroups and their size is fixed; else 0. */
  subgroupSize: number;
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

/** Elements on the host, as they lie in a buffer. */
export type HostArray = Float32Array | Float16Array | Uint32Array | Int32Array;

/** Lanes of a workgroup: a software adapter runs 8 lanes in step, a GPU wants more. */
const SOFTWARE_THREADS = 8;
const GPU_THREADS = 64;
/** Invocations from which a software adapter, too, has workgroups for every core at the size of a GPU's; each of them costs time. */
const MANY_INVOCATIONS = 4096;

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
  readonly #staging: ParamsStaging;
  readonly #cache: PipelineCache;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  readonly #readBuffers: GPUBuffer[] = [];
  readonly #recent = new Set<string>();
  readonly #operations = new Set<string>();
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
    this.#staging = new ParamsStaging(device.limits.minUniformBufferOffsetAlignment);
    this.threads = adapter.software ? SOFTWARE_THREADS : GPU_THREADS;
    this.#pool = new BufferPool(device, {
      byteBudget: options.byteBudget ?? Infinity,
      maxBufferBytes: device.limits.maxBufferSize,
      flush: () => this.#submit(),
      onDestroy: () => this.#cache.clearBindGroups(),
    });
    this.#uniform = device.createBuffer({
      label: "params",
      size: STAGING_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.#cache = new PipelineCache(device, {
      maxBindingBytes: this.maxBindingBytes,
      uniform: this.#uniform,
      // Exact where the uncaptured error, which follows, would only name the candidates.
      onError: (error) => this.#failure = error,
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
    const wanted: GPUFeatureName[] = ["shader-f16", "timestamp-query"];
    const requiredFeatures = wanted.filter((feature) => adapter.features.has(feature));
    const device = await requestWithSubgroups(adapter, { requiredLimits, requiredFeatures });
    const { info } = adapter;
    const fixed = device.features.has("subgroups") && info.subgroupMinSize === info.subgroupMaxSize;
    const subgroupSize = fixed ? info.subgroupMinSize : 0;
    const name = info.description || info.device || info.architecture || "unknown adapter";
    const software = info.isFallbackAdapter || /llvmpipe|swiftshader|software|lavapipe/i.test(name);
    return new Gpu(device, { name, vendor: info.vendor, software, subgroupSize }, options);
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
    this.#assertOpen();
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
   * @param definition The kernel; what is bound decides whether its text for f32 or for f16 runs.
   * @param entryPoint Its entry point.
   * @param options Buffers, parameters, constants and size.
   * @throws {TypeError} If a binding, a parameter or the size is missing or unknown.
   * @throws {RangeError} If a binding or the number of workgroups passes a limit of the adapter.
   */
  run(definition: Kernel, entryPoint: string, options: RunOptions): void {
    this.#assertOpen();
    const kernel = kernelFor(definition, entryPoint, options.buffers);
    const operation = `${kernel.name}.${entryPoint}`;
    const constants: Record<string, number> = kernel.overrides.has("THREADS")
      ? { THREADS: this.#threadsFor(options), ...options.constants }
      : { ...options.constants };
    const workgroups = this.#workgroups(operation, constants, options);
    if (workgroups.includes(0)) return;
    const binding = { kernel, entryPoint, buffers: options.buffers };
    const pipeline = this.#cache.pipeline(binding, constants);
    const group = this.#cache.bindGroup(pipeline, binding);
    const offsets: number[] = [];
    if (kernel.paramsBinding >= 0) {
      if (!this.#staging.fits(kernel)) this.#submit();
      offsets.push(this.#staging.add(kernel, options.params ?? {}, operation));
    }
    this.#encoder ??= this.#device.createCommandEncoder();
    this.#pass ??= this.#encoder.beginComputePass();
    this.#pass.setPipeline(pipeline.pipeline);
    this.#pass.setBindGroup(0, group, offsets);
    this.#pass.dispatchWorkgroups(...workgroups);
    this.#recent.add(operation);
    this.#operations.add(operation);
    this.#dispatches++;
  }

  /**
   * Records a copy between two slices of equal size, whole tensors or multiples of 4 bytes.
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
      wholeWords(source.bytes),
    );
  }

  /**
   * Records the filling of a slice, a whole tensor or a multiple of 4 bytes, with zero bytes.
   *
   * @param slice What is cleared.
   */
  clear(slice: Slice): void {
    this.#copyEncoder().clearBuffer(slice.buffer, slice.offsetBytes, wholeWords(slice.bytes));
  }

  /**
   * Writes host data. Recorded work is submitted first, because a queue write overtakes work that is only encoded.
   *
   * @param slice Where to; where it holds 16-bit floats, a whole tensor or a multiple of 4 bytes.
   * @param data What, in the slice's type; at most its bytes.
   * @throws {RangeError} If the data is larger than the slice.
   */
  upload(slice: Slice, data: HostArray): void {
    if (data.byteLength > slice.bytes) {
      throw new RangeError(
        `Cannot upload ${data.byteLength} bytes: expected at most ${slice.bytes}`,
      );
    }
    this.flush();
    let bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    if (bytes.length % 4 !== 0) {
      const padded = new Uint8Array(wholeWords(bytes.length));
      padded.set(bytes);
      bytes = padded;
    }
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
  async read(slices: readonly Slice[]): Promise<ArrayBuffer[]> {
    this.#throwFailure();
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
        wholeWords(slice.bytes),
      );
    }
    this.flush();
    return await this.#finishRead(staging, slices, offsets);
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

  /** Kernels and entry points that were dispatched so far, each as `kernel.entryPoint`. */
  get operations(): ReadonlySet<string> {
    return this.#operations;
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
    this.#device.queue.writeBuffer(this.#uniform, 0, this.#staging.take());
    const commands = this.#encoder.finish();
    this.#encoder = undefined;
    this.#device.queue.submit([commands]);
    this.#submits++;
  }

  #copyEncoder(): GPUCommandEncoder {
    this.#assertOpen();
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

  #assertOpen(): void {
    if (this.#closed) throw new GpuError("an operation", "the Gpu was disposed");
  }

  #throwFailure(): void {
    this.#assertOpen();
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
      if (constants.THREADS === undefined) {
        throw new TypeError(
          `Cannot run ${operation}: expected an override THREADS or a number of workgroups, found threads`,
        );
      }
      const groups = Math.ceil(options.threads / constants.THREADS);
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
    let parts: ArrayBuffer[];
    try {
      await staging.mapAsync(GPUMapMode.READ);
      const mapped = staging.getMappedRange();
      parts = slices.map((slice, i) => mapped.slice(offsets[i]!, offsets[i]! + slice.bytes));
      staging.unmap();
    } catch (error) {
      staging.destroy();
      this.#throwFailure();
      throw error;
    }
    if (this.#closed || staging.size > 1 << 24) staging.destroy();
    else this.#readBuffers.push(staging);
    this.#throwFailure();
    return parts;
  }
}

/** Some adapters have subgroups without listing them: it takes a try to know. */
async function requestWithSubgroups(
  adapter: GPUAdapter,
  descriptor: GPUDeviceDescriptor & { requiredFeatures: GPUFeatureName[] },
): Promise<GPUDevice> {
  const requiredFeatures: GPUFeatureName[] = [...descriptor.requiredFeatures, "subgroups"];
  try {
    return await adapter.requestDevice({ ...descriptor, requiredFeatures });
  } catch {
    return await adapter.requestDevice(descriptor);
  }
}

/** Copies move whole words; buffers end with one. */
function wholeWords(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

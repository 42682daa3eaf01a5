/** The device: opens the adapter, records dispatches and copies, moves data in and out, counts. @module */

import { dryDevice } from "./dry_device.ts";
import { GpuError } from "./errors.ts";
import { type Kernel, kernelFor } from "./kernel.ts";
import type { PipelineDescription } from "./pipeline_cache.ts";
import { BufferPool, type MemoryUse, type MemoryUses, type PoolStats } from "./pool.ts";
import { hasMaskedVectors } from "./processor.ts";
import type { ProfileTimes } from "./profiler.ts";
import { ReadBack } from "./read_back.ts";
import { type Dispatch, Recorder, type RecorderStats, type Work } from "./recorder.ts";
import { type Slice, subslice, wholeWords } from "./slice.ts";
import { TEXEL_BYTES, TEXEL_ROW, TexelPool } from "./texel_pool.ts";
import { TileTable } from "./tile_table.ts";
import { type DispatchSize, workgroupsOf } from "./workgroups.ts";

/** Options of {@linkcode Gpu.open}. */
export interface GpuOptions {
  /** Live and pooled buffers together never pass this many bytes. Default: no budget but the adapter's. */
  byteBudget?: number;
  /** Pretend that the adapter binds at most this many bytes: tests use it to make small tensors take the ranged paths. */
  maxBindingBytes?: number;
  /**
   * Called with every new pipeline before it first runs. Returns whether it is compiled elsewhere meanwhile: what is recorded then
   * waits for a flush, so that all of its pipelines can be.
   */
  onPipeline?: (description: PipelineDescription) => boolean;
  /**
   * From this size on, inputs of kernels that can do so are read from textures. Default: as measured on a software adapter, never on a
   * GPU; tests use 0 to make small tensors take that path.
   */
  leastTexelBytes?: number;
  /** Pretend that the adapter lacks these features: tests use it where adapters differ. */
  withoutFeatures?: readonly string[];
}

/** Options of {@linkcode Gpu.dry}. */
export interface DryGpuOptions {
  /** Is shown every dispatch. */
  onDispatch?: (dispatch: Dispatch) => void;
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
  /**
   * Whether it is a software adapter on a processor that has vectors with masks, and 32 registers for them: it loads from storage buffers
   * about as fast as from uniform ones, and large tiles pay. Default false.
   */
  hasMaskedVectors?: boolean;
}

/** Counters of a {@linkcode Gpu}. */
export interface GpuStats extends PoolStats, RecorderStats {
  /** Bytes written by the host so far. */
  uploadedBytes: number;
  /** Bytes read by the host so far. */
  readBytes: number;
}

/** What {@linkcode Gpu.finishProfile} gives: times, and the growth of the counters meanwhile. */
export interface Profile extends ProfileTimes {
  /** Growth of each counter from start to finish. */
  readonly counts: Readonly<
    Pick<
      GpuStats,
      "dispatches" | "submits" | "pipelines" | "copiedBytes" | "uploadedBytes" | "readBytes"
    >
  >;
}

/** How often, and over what, an entry point runs. */
export interface RunOptions extends DispatchSize {
  /** Storage bindings by variable name: exactly those that the entry point uses. */
  buffers: Readonly<Record<string, Slice>>;
  /** Every field of `struct Params`. */
  params?: Readonly<Record<string, number>>;
  /** Values of `override` constants; `THREADS` has a default by adapter. */
  constants?: Readonly<Record<string, number>>;
  /** What it does, where the launcher knows; for profiles. */
  work?: Work;
}

/** Elements on the host, as they lie in a buffer. */
export type HostArray = Float32Array | Float16Array | Uint32Array | Int32Array;

/** Lanes of a workgroup: a software adapter runs 8 lanes in step, a GPU wants more. */
const SOFTWARE_THREADS = 8;
const GPU_THREADS = 64;
/** A software adapter takes longer to copy smaller arrays into textures than it saves. */
const LEAST_TEXEL_BYTES = 2 ** 18;
/**
 * The same where a dispatch is given in invocations: a workgroup costs a software adapter time, and few large ones leave cores idle.
 * One size for all dispatches, as each size is a pipeline to compile.
 */
const SOFTWARE_MANY = 32;

/**
 * A GPU (or software adapter) opened for compute.
 *
 * Dispatches are recorded into one encoder and submitted together by {@linkcode Gpu.flush}, which reading does. Failures that the
 * device reports late are thrown by the next flush or read.
 */
export class Gpu implements Disposable {
  /** What is known of the adapter. */
  readonly adapter: AdapterDescription;
  /** Which tile serves which product. */
  readonly tiles: TileTable;
  /** Whether it has sizes only: nothing is computed, and what is read is zero. */
  readonly isDry: boolean;
  /** The device's limits: the adapter's own. */
  readonly limits: GPUSupportedLimits;
  /** Features that were present and are enabled. */
  readonly features: ReadonlySet<string>;
  /** The largest storage binding, in bytes. */
  readonly maxBindingBytes: number;
  /** Arrays of at least so many bytes are worth a copy into a texture, see {@linkcode Gpu.copyToTexels}. */
  readonly leastTexelBytes: number;
  /** The same for kernels that load each element about once: a copy, which one thread makes, pays only where loads from buffers are slow. */
  readonly leastStreamBytes: number;
  /** Offsets of storage bindings are multiples of this many bytes. */
  readonly offsetAlignment: number;
  /** Default `THREADS` of a dispatch that is given in workgroups; one given in `threads` may take more. */
  readonly threads: number;
  readonly #device: GPUDevice;
  readonly #pool: BufferPool;
  readonly #texels: TexelPool;
  readonly #recorder: Recorder;
  readonly #readBack: ReadBack;
  readonly #recent = new Set<string>();
  readonly #operations = new Set<string>();
  #failure: GpuError | undefined;
  #profileStart: GpuStats | undefined;
  readonly #moved = { uploadedBytes: 0, readBytes: 0 };
  #closed = false;

  private constructor(
    device: GPUDevice,
    adapter: AdapterDescription,
    options: GpuOptions & { leastStreamBytes?: number; dry?: DryGpuOptions; tiles?: TileTable },
  ) {
    this.#device = device;
    this.adapter = adapter;
    this.isDry = options.dry !== undefined;
    this.tiles = options.tiles ?? new TileTable();
    this.limits = device.limits;
    this.features = new Set<string>(device.features as Iterable<string>);
    this.maxBindingBytes = Math.min(
      device.limits.maxStorageBufferBindingSize,
      options.maxBindingBytes ?? Infinity,
    );
    this.leastTexelBytes = options.leastTexelBytes ??
      (adapter.software ? LEAST_TEXEL_BYTES : Infinity);
    this.leastStreamBytes = options.leastStreamBytes ?? options.leastTexelBytes ??
      (adapter.hasMaskedVectors ? Infinity : this.leastTexelBytes);
    this.offsetAlignment = device.limits.minStorageBufferOffsetAlignment;
    this.threads = adapter.software ? SOFTWARE_THREADS : GPU_THREADS;
    this.#pool = new BufferPool(device, {
      byteBudget: options.byteBudget ?? Infinity,
      maxBufferBytes: this.isDry ? Infinity : device.limits.maxBufferSize,
      flush: () => this.#recorder.submit(),
      onDestroy: () => this.#recorder.forgetBuffers(),
      onTrim: () => {
        this.#recorder.forgetBuffers();
        this.#texels.trim();
      },
    });
    this.#texels = new TexelPool(device, this.#pool);
    this.#readBack = new ReadBack(device);
    this.#recorder = new Recorder(device, {
      maxBindingBytes: this.maxBindingBytes,
      // Exact where the uncaptured error, which follows, would only name the candidates.
      onError: (error) => this.#failure = error,
      onPipeline: options.onPipeline,
      onDispatch: options.dry?.onDispatch,
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
    const { withoutFeatures = [] } = options;
    const wanted: GPUFeatureName[] = ["shader-f16", "timestamp-query"];
    const requiredFeatures = wanted.filter((feature) =>
      adapter.features.has(feature) && !withoutFeatures.includes(feature)
    );
    const descriptor = { requiredLimits, requiredFeatures };
    const device =
      await (withoutFeatures.includes("subgroups")
        ? adapter.requestDevice(descriptor)
        : requestWithSubgroups(adapter, descriptor));
    const { info } = adapter;
    const fixed = device.features.has("subgroups") && info.subgroupMinSize === info.subgroupMaxSize;
    const subgroupSize = fixed ? info.subgroupMinSize : 0;
    const name = info.description || info.device || info.architecture || "unknown adapter";
    const software = info.isFallbackAdapter || /llvmpipe|swiftshader|software|lavapipe/i.test(name);
    const masked = software && hasMaskedVectors();
    return new Gpu(
      device,
      { name, vendor: info.vendor, software, subgroupSize, hasMaskedVectors: masked },
      options,
    );
  }

  /**
   * Makes a device like another one, of sizes without memory. Code that runs on it takes the same buffers from the same pool and
   * records the same dispatches, so that its statistics say what the real one will need. It has no budget, and buffers may be larger
   * than the adapter's largest: what fits is to be compared with `limits`.
   *
   * @param like The device that it stands for.
   * @param options Who is shown the dispatches.
   * @returns The device; dispose it.
   *
   * @example The memory of a step
   * ```ts ignore
   * using dry = Gpu.dry(gpu);
   * using learner = new TokenizerLearner(dry, options);
   * await learner.step(batches, settings);
   * console.log(dry.stats().peakBytes, dry.memoryUses);
   * ```
   */
  static dry(like: Gpu, options: DryGpuOptions = {}): Gpu {
    return new Gpu(dryDevice(like.limits, like.features), like.adapter, {
      maxBindingBytes: like.maxBindingBytes,
      leastTexelBytes: like.leastTexelBytes,
      leastStreamBytes: like.leastStreamBytes,
      tiles: like.tiles,
      dry: options,
    });
  }

  /**
   * Takes a buffer from the pool; its contents are undefined.
   *
   * @param bytes Wanted size.
   * @param purpose Named in errors.
   * @param use What it counts as in {@linkcode Gpu.memoryUses}. Default: workspace.
   * @returns The whole of the wanted size; give it back by {@linkcode Gpu.release}.
   * @throws {GpuMemoryError} If it passes the budget or the adapter's largest buffer.
   */
  acquire(bytes: number, purpose = "a tensor", use: MemoryUse = "workspace"): Slice {
    this.#assertOpen();
    return { buffer: this.#pool.acquire(bytes, purpose, use), offsetBytes: 0, bytes };
  }

  /**
   * Gives an acquired buffer back. Work that is already recorded still reads what it held.
   *
   * @param slice What {@linkcode Gpu.acquire} returned.
   */
  release(slice: Slice): void {
    if (this.#closed || slice.texture && this.#texels.release(slice.texture)) return;
    this.#pool.release(slice.buffer);
  }

  /**
   * Copies an array of f32 vectors into a texture: vector i becomes the texel that `texelOf` of texels.wgsl gives. Software adapters load
   * texels, whose lanes' loads are unrolled, several times faster than elements of storage buffers.
   *
   * @param source The array: it begins at a whole texel.
   * @returns The same numbers in a texture; give it back by {@linkcode Gpu.release}, and the source apart from it.
   */
  copyToTexels(source: Slice): Slice {
    this.#assertOpen();
    const texture = this.#texels.acquire(source.bytes);
    const rowBytes = TEXEL_ROW * TEXEL_BYTES;
    const rows = Math.floor(source.bytes / rowBytes);
    const rest = Math.ceil((source.bytes - rows * rowBytes) / TEXEL_BYTES);
    if (rows > 0) {
      const whole = subslice(source, 0, rows * rowBytes);
      this.#recorder.copyToTexture(whole, texture, [TEXEL_ROW, rows]);
    }
    if (rest > 0) {
      const last = subslice(source, rows * rowBytes, rest * TEXEL_BYTES);
      this.#recorder.copyToTexture(last, texture, [rest, 1], rows);
    }
    return { ...source, texture };
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
    const workgroups = workgroupsOf(operation, options, {
      threads: constants.THREADS,
      limit: this.limits.maxComputeWorkgroupsPerDimension,
    });
    if (workgroups.includes(0)) return;
    const { buffers, params = {}, work } = options;
    this.#recorder.dispatch({ kernel, entryPoint, buffers, params, constants, workgroups, work });
    this.#recent.add(operation);
    this.#operations.add(operation);
  }

  /**
   * Compiles a pipeline without work for it, for drivers that compile at the first dispatch.
   *
   * @param definition The kernel.
   * @param entryPoint Its entry point.
   * @param options Bindings and all constants.
   */
  compile(
    definition: Kernel,
    entryPoint: string,
    { buffers, constants = {} }: Pick<RunOptions, "buffers" | "constants">,
  ): void {
    this.#assertOpen();
    const kernel = kernelFor(definition, entryPoint, buffers);
    this.#recorder.compile({ kernel, entryPoint, buffers, constants });
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
    this.#assertOpen();
    this.#recorder.copy(source, target, wholeWords(source.bytes));
  }

  /**
   * Records the filling of a slice, a whole tensor or a multiple of 4 bytes, with zero bytes.
   *
   * @param slice What is cleared.
   */
  clear(slice: Slice): void {
    this.#assertOpen();
    this.#recorder.clear(slice, wholeWords(slice.bytes));
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
    this.#moved.uploadedBytes += bytes.length;
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
    const plan = this.#readBack.plan(slices);
    for (const [i, slice] of slices.entries()) {
      const bytes = wholeWords(slice.bytes);
      const target = { buffer: plan.staging, offsetBytes: plan.offsets[i]!, bytes };
      this.#recorder.copy(slice, target, bytes);
      this.#moved.readBytes += bytes;
    }
    this.flush();
    let parts: ArrayBuffer[];
    try {
      await this.#recorder.wait(() => plan.staging.mapAsync(GPUMapMode.READ));
      parts = this.#readBack.finish(plan, !this.#closed);
    } catch (error) {
      plan.staging.destroy();
      this.#throwFailure();
      throw error;
    }
    this.#throwFailure();
    return parts;
  }

  /**
   * Submits what is recorded.
   *
   * @throws {GpuError} If the device reported a failure since the last call.
   */
  flush(): void {
    this.#throwFailure();
    this.#recorder.submit();
  }

  /**
   * Waits until everything recorded so far has run.
   *
   * @throws {GpuError} If the device reported a failure.
   */
  async settle(): Promise<void> {
    this.flush();
    await this.#recorder.wait(() => this.#device.queue.onSubmittedWorkDone());
    this.#throwFailure();
    this.#recent.clear();
  }

  /**
   * Destroys released buffers until at most `keepBytes` of them wait for reuse.
   *
   * @param keepBytes Default 0.
   */
  trim(keepBytes = 0): void {
    this.#readBack.trim();
    this.#pool.trim(keepBytes);
  }

  /**
   * Counts.
   *
   * @returns Bytes and counts now.
   */
  stats(): GpuStats {
    return { ...this.#pool.stats(), ...this.#recorder.stats(), ...this.#moved };
  }

  /** Bytes of the budget that nobody holds. */
  get spareBytes(): number {
    return this.#pool.spareBytes;
  }

  /** Live bytes by what they hold. */
  get memoryUses(): MemoryUses {
    return this.#pool.uses;
  }

  /** Starts the maxima of bytes anew, from what is live and pooled now. */
  restartPeaks(): void {
    this.#pool.restartPeaks();
  }

  /**
   * Checks that the adapter can measure.
   *
   * @throws {GpuError} If it cannot.
   */
  requireTimestamps(): void {
    if (this.features.has("timestamp-query")) return;
    throw new GpuError(
      "a profile",
      `expected an adapter with the feature timestamp-query, found that ${this.adapter.name} has none`,
    );
  }

  /**
   * Starts to measure every dispatch until {@linkcode Gpu.finishProfile}. Each has a pass of its own meanwhile, which costs some
   * microseconds more.
   *
   * @throws {GpuError} If the adapter cannot measure, or measures already.
   */
  startProfile(): void {
    this.#throwFailure();
    this.requireTimestamps();
    if (this.#profileStart) throw new GpuError("a profile", "expected none, found a started one");
    this.#recorder.startProfile();
    this.#profileStart = this.stats();
  }

  /**
   * Ends the measurement and waits for the device.
   *
   * @returns What was measured.
   * @throws {GpuError} If the device reported a failure, or nothing is measured.
   */
  async finishProfile(): Promise<Profile> {
    this.#throwFailure();
    using profiler = this.#recorder.takeProfiler();
    const start = this.#profileStart;
    this.#profileStart = undefined;
    if (!profiler || !start) throw new GpuError("a profile", "expected a started one, found none");
    const end = this.stats();
    const times = await profiler.finish();
    this.#throwFailure();
    return {
      ...times,
      counts: {
        dispatches: end.dispatches - start.dispatches,
        submits: end.submits - start.submits,
        pipelines: end.pipelines - start.pipelines,
        copiedBytes: end.copiedBytes - start.copiedBytes,
        uploadedBytes: end.uploadedBytes - start.uploadedBytes,
        readBytes: end.readBytes - start.readBytes,
      },
    };
  }

  /** Kernels and entry points that were dispatched so far, each as `kernel.entryPoint`. */
  get operations(): ReadonlySet<string> {
    return this.#operations;
  }

  /** Destroys every buffer and the device. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#recorder.submit();
    this.#closed = true;
    this.trim();
    this.#pool.destroy();
    this.#recorder[Symbol.dispose]();
    this.#device.destroy();
  }

  #threadsFor({ threads = 0 }: RunOptions): number {
    return threads > 0 && this.adapter.software ? SOFTWARE_MANY : this.threads;
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

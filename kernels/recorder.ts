/** Records dispatches and copies into submits: few, but early enough that the device seldom waits for the host. @module */

import type { GpuError } from "./errors.ts";
import type { Kernel } from "./kernel.ts";
import { ParamsStaging, STAGING_BYTES } from "./params_staging.ts";
import { PipelineCache, type PipelineDescription } from "./pipeline_cache.ts";
import { MOST_PROFILED, Profiler } from "./profiler.ts";
import type { Slice } from "./slice.ts";

/** What a dispatch does, where its launcher knows: profiles give rates by it. */
export interface Work {
  /** Floating-point operations; a multiply-add counts two. */
  readonly operations?: number;
  /** Bytes read and written. Default: those of everything bound. */
  readonly bytes?: number;
}

/** One dispatch, ready to be recorded. */
export interface Dispatch {
  /** The kernel. */
  readonly kernel: Kernel;
  /** Its entry point. */
  readonly entryPoint: string;
  /** Storage bindings by variable name. */
  readonly buffers: Readonly<Record<string, Slice>>;
  /** Fields of `struct Params`. */
  readonly params: Readonly<Record<string, number>>;
  /** Values of all `override` constants that are set. */
  readonly constants: Readonly<Record<string, number>>;
  /** Workgroups by dimension. */
  readonly workgroups: readonly [number, number, number];
  /** For profiles. */
  readonly work?: Work | undefined;
}

/** Counters of a {@linkcode Recorder}. */
export interface RecorderStats {
  /** Dispatches so far. */
  dispatches: number;
  /** Submits so far. */
  submits: number;
  /** Pipelines made so far. */
  pipelines: number;
  /** Bind groups made so far: a step that repeats another one makes none. */
  bindGroups: number;
  /** Bytes moved by copies between buffers so far. */
  copiedBytes: number;
  /** Milliseconds so far in which the device had nothing to do between a wait for it and the next submit. */
  idleMs: number;
}

/** Options of a {@linkcode Recorder}. */
export interface RecorderOptions {
  /** The largest storage binding, in bytes. */
  readonly maxBindingBytes: number;
  /** Called when the device refuses a pipeline. */
  readonly onError: (error: GpuError) => void;
  /**
   * Called with every new pipeline before it first runs. Returns whether it is compiled elsewhere meanwhile: what is recorded then
   * waits for a flush, so that all of its pipelines can be.
   */
  readonly onPipeline?: ((description: PipelineDescription) => boolean) | undefined;
  /** Called with every dispatch. */
  readonly onDispatch?: ((dispatch: Dispatch) => void) | undefined;
}

/** Dispatches after which an idle device gets its first submit; each following one may be twice as large. */
const FIRST_SUBMIT = 32;
/** Dispatches of the largest submit. */
const LARGEST_SUBMIT = 1024;

/** The encoder of the running submit, its open pass and the parameters of its dispatches. */
export class Recorder implements Disposable {
  readonly #device: GPUDevice;
  readonly #uniform: GPUBuffer;
  readonly #staging: ParamsStaging;
  readonly #cache: PipelineCache;
  readonly #onDispatch: ((dispatch: Dispatch) => void) | undefined;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #profiler: Profiler | undefined;
  #recorded = 0;
  #limit = FIRST_SUBMIT;
  #held = false;
  #compiling = false;
  #idleSince: number | undefined;
  readonly #stats = { dispatches: 0, submits: 0, copiedBytes: 0, idleMs: 0 };

  /**
   * Starts with nothing recorded.
   *
   * @param device The device.
   * @param options Limit, and who hears of errors and pipelines.
   */
  constructor(device: GPUDevice, options: RecorderOptions) {
    this.#device = device;
    this.#onDispatch = options.onDispatch;
    this.#staging = new ParamsStaging(device.limits.minUniformBufferOffsetAlignment);
    this.#uniform = device.createBuffer({
      label: "params",
      size: STAGING_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.#cache = new PipelineCache(device, {
      ...options,
      uniform: this.#uniform,
      onPipeline: (description) => {
        if (options.onPipeline?.(description)) this.#held = true;
        this.#compiling = true;
      },
    });
  }

  /**
   * Records a dispatch.
   *
   * @param dispatch What runs, over what.
   * @throws {TypeError} If a binding or a parameter is missing or unknown.
   * @throws {RangeError} If a binding passes the limit.
   */
  dispatch(dispatch: Dispatch): void {
    const { kernel, entryPoint, constants, params, workgroups } = dispatch;
    this.#onDispatch?.(dispatch);
    const operation = `${kernel.name}.${entryPoint}`;
    const mostHeld = this.#profiler ? MOST_PROFILED : Infinity;
    this.#profiler?.recording();
    const pipeline = this.#cache.pipeline(dispatch, constants);
    const group = this.#cache.bindGroup(pipeline, dispatch);
    const offsets: number[] = [];
    const full = this.#recorded >= (this.#held ? mostHeld : this.#limit);
    if (full || !this.#staging.fits(kernel)) this.submit();
    if (kernel.paramsBinding >= 0) offsets.push(this.#staging.add(kernel, params, operation));
    const encoder = this.#encoder ??= this.#device.createCommandEncoder();
    if (this.#profiler) {
      this.#endPass();
      const timestampWrites = this.#profiler.stamp(operation, dispatch);
      this.#pass = encoder.beginComputePass({ label: operation, timestampWrites });
    } else this.#pass ??= encoder.beginComputePass();
    this.#pass.setPipeline(pipeline.pipeline);
    this.#pass.setBindGroup(0, group, offsets);
    this.#pass.dispatchWorkgroups(...workgroups);
    this.#recorded++;
    this.#stats.dispatches++;
  }

  /**
   * Records a copy.
   *
   * @param source What is read.
   * @param target What is written.
   * @param bytes How much, a multiple of 4.
   */
  copy(source: Slice, target: Slice, bytes: number): void {
    this.#transfer("copy", 2 * bytes, (encoder) =>
      encoder.copyBufferToBuffer(
        source.buffer,
        source.offsetBytes,
        target.buffer,
        target.offsetBytes,
        bytes,
      ));
    this.#stats.copiedBytes += bytes;
  }

  /**
   * Records a copy into a texture.
   *
   * @param source The rows of texels, one behind the other.
   * @param texture What is written.
   * @param size Texels of a row, and rows.
   * @param row The first row that is written. Default 0.
   */
  copyToTexture(
    source: Slice,
    texture: GPUTexture,
    size: readonly [number, number],
    row = 0,
  ): void {
    const { buffer, offsetBytes: offset, bytes } = source;
    const layout = size[1] > 1 ? { bytesPerRow: bytes / size[1] } : {};
    this.#transfer("copy_to_texture", 2 * bytes, (encoder) =>
      encoder.copyBufferToTexture(
        { buffer, offset, ...layout },
        { texture, origin: [0, row] },
        [...size],
      ));
    this.#stats.copiedBytes += bytes;
  }

  /**
   * Records the filling with zeros.
   *
   * @param slice Where.
   * @param bytes How much, a multiple of 4.
   */
  clear(slice: Slice, bytes: number): void {
    this.#transfer(
      "clear",
      bytes,
      (encoder) => encoder.clearBuffer(slice.buffer, slice.offsetBytes, bytes),
    );
  }

  /** Submits what is recorded. */
  submit(): void {
    if (!this.#encoder) return;
    this.#endPass();
    this.#profiler?.submitting(this.#encoder);
    this.#device.queue.writeBuffer(this.#uniform, 0, this.#staging.take());
    const commands = this.#encoder.finish();
    this.#encoder = undefined;
    this.#device.queue.submit([commands]);
    if (this.#idleSince !== undefined) this.#stats.idleMs += performance.now() - this.#idleSince;
    this.#idleSince = undefined;
    this.#profiler?.submitted();
    this.#recorded = 0;
    this.#held = false;
    // While pipelines are made, which takes longer than recording, small submits let the device work meanwhile.
    if (!this.#compiling) this.#limit *= 2;
    this.#limit = Math.min(this.#limit, this.#profiler ? MOST_PROFILED : LARGEST_SUBMIT);
    this.#compiling = false;
    this.#stats.submits++;
  }

  /**
   * Waits for the device. Deno's own waits return to the caller once all submitted work is done, and resolve about 10 ms later.
   *
   * @param begin Begins the wait.
   * @returns What it resolves to.
   */
  async wait<Result>(begin: () => Promise<Result>): Promise<Result> {
    const beganMs = performance.now();
    const waiting = begin();
    this.#idleSince = performance.now();
    this.#limit = FIRST_SUBMIT;
    this.#profiler?.waited(beganMs);
    return await waiting;
  }

  /**
   * Compiles a pipeline without work for it: drivers that compile late do so at the first dispatch, even one without workgroups.
   *
   * @param dispatch What would run.
   */
  compile(dispatch: Omit<Dispatch, "workgroups" | "params">): void {
    const params = Object.fromEntries([...dispatch.kernel.fields.keys()].map((name) => [name, 0]));
    this.dispatch({ ...dispatch, params, workgroups: [0, 0, 0] });
  }

  /** Starts to measure every dispatch; each then has a pass of its own. */
  startProfile(): void {
    this.submit();
    this.#limit = Math.min(this.#limit, MOST_PROFILED);
    this.#profiler = new Profiler(this.#device);
  }

  /**
   * Ends the measurement.
   *
   * @returns What measured, with everything submitted.
   */
  takeProfiler(): Profiler | undefined {
    this.submit();
    const profiler = this.#profiler;
    this.#profiler = undefined;
    return profiler;
  }

  /** Forgets all bind groups, before a buffer is destroyed. */
  forgetBuffers(): void {
    this.#cache.clearBindGroups();
  }

  /**
   * Counts.
   *
   * @returns Counts now.
   */
  stats(): RecorderStats {
    const { pipelines, bindGroups } = this.#cache;
    return { ...this.#stats, pipelines, bindGroups };
  }

  /** Destroys what it holds. */
  [Symbol.dispose](): void {
    this.#profiler?.[Symbol.dispose]();
    this.#uniform.destroy();
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  /** Records a copy or the like, between two passes without work where it is measured. */
  #transfer(
    kind: string,
    bytes: number,
    record: (encoder: GPUCommandEncoder) => void,
  ): void {
    this.#profiler?.recording();
    if (this.#profiler && this.#recorded >= MOST_PROFILED) this.submit();
    this.#endPass();
    const encoder = this.#encoder ??= this.#device.createCommandEncoder();
    if (!this.#profiler) return record(encoder);
    const [before, behind] = this.#profiler.stampTransfer(kind, bytes);
    encoder.beginComputePass({ timestampWrites: before }).end();
    record(encoder);
    encoder.beginComputePass({ timestampWrites: behind }).end();
    this.#recorded++;
  }
}

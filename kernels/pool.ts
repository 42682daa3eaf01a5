/** The pool of GPU buffers: acquired, released and reused by size, so that a training step allocates nothing after the first. @module */

import { GpuMemoryError } from "./errors.ts";
import { FreeList } from "./free_list.ts";

/** What memory is used for, as plans and errors name it. */
export const MEMORY_USES = [
  "weights",
  "gradients",
  "optimizer",
  "averages",
  "activations",
  "workspace",
] as const;

/**
 * What a buffer holds: parameters; gradients, of activations too while they are on their way; an optimizer's moments; averages of
 * weights; results of ops; anything that lives within an op or a step.
 */
export type MemoryUse = typeof MEMORY_USES[number];

/** Live bytes of a {@linkcode BufferPool} by what they hold. */
export interface MemoryUses {
  /** The most of each, at moments of their own. */
  readonly most: Readonly<Record<MemoryUse, number>>;
  /** Each at the moment at which all live bytes together were most. */
  readonly atPeak: Readonly<Record<MemoryUse, number>>;
}

/** Bytes and counts of a {@linkcode BufferPool}, at one moment. */
export interface PoolStats {
  /** Bytes of buffers that an owner holds now. */
  liveBytes: number;
  /** Bytes of released buffers that wait for reuse. */
  pooledBytes: number;
  /** The largest `liveBytes + pooledBytes` so far. */
  peakBytes: number;
  /** The largest `liveBytes` so far: what the budget has to hold. */
  peakLiveBytes: number;
  /** The largest buffer that was taken so far. */
  largestBufferBytes: number;
  /** Buffers created so far. */
  createdBuffers: number;
}

/** Sizes are rounded up to this many bytes, so that nearly equal shapes share buffers. */
const GRANULE_BYTES = 256;
/** A pooled buffer may serve a request that is smaller than it by up to this factor. */
const SLACK = 1.125;

/** Options of a {@linkcode BufferPool}. */
export interface BufferPoolOptions {
  /** Live and pooled bytes together never pass this. */
  byteBudget: number;
  /** The largest buffer the device can create, in bytes. */
  maxBufferBytes: number;
  /** Submits what is encoded, so that released buffers may be destroyed. */
  flush: () => void;
  /** Called with each buffer just before it is destroyed. */
  onDestroy: (buffer: GPUBuffer) => void;
  /** Called before buffers are destroyed to make room: destroys what waits for reuse outside the pool. */
  onTrim: () => void;
}

function noBytes(): Record<MemoryUse, number> {
  return { weights: 0, gradients: 0, optimizer: 0, averages: 0, activations: 0, workspace: 0 };
}

/**
 * Buffers by size. A released buffer is reused as soon as possible: the queue runs in order, so a reader that was encoded earlier
 * has read before the next writer writes. Contents of an acquired buffer are undefined.
 */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #options: BufferPoolOptions;
  readonly #free = new FreeList<GPUBuffer>();
  readonly #live = new Map<GPUBuffer, MemoryUse>();
  readonly #uses: Record<MemoryUse, number> = noBytes();
  #liveBytes = 0;
  #pooledBytes = 0;
  #peakBytes = 0;
  #peakLiveBytes = 0;
  #largestBufferBytes = 0;
  readonly #most: Record<MemoryUse, number> = noBytes();
  #atPeak: Readonly<Record<MemoryUse, number>> = noBytes();
  #createdBuffers = 0;

  /**
   * Starts empty.
   *
   * @param device The device that creates the buffers.
   * @param options Limits and hooks.
   */
  constructor(device: GPUDevice, options: BufferPoolOptions) {
    this.#device = device;
    this.#options = options;
  }

  /**
   * Takes a buffer of at least `bytes` bytes out of the pool, or creates one.
   *
   * @param bytes Wanted size.
   * @param purpose Named in the error.
   * @param use What it counts as.
   * @returns A storage buffer whose contents are undefined.
   * @throws {GpuMemoryError} If the size passes the device's largest buffer, or the budget even after all pooled buffers are destroyed.
   */
  acquire(bytes: number, purpose: string, use: MemoryUse = "workspace"): GPUBuffer {
    const size = Math.max(GRANULE_BYTES, Math.ceil(bytes / GRANULE_BYTES) * GRANULE_BYTES);
    const buffer = this.#takeFree(size) ?? this.#create(size, purpose);
    this.#largestBufferBytes = Math.max(this.#largestBufferBytes, buffer.size);
    this.#live.set(buffer, use);
    this.#take(buffer.size, use);
    return buffer;
  }

  /**
   * Gives a buffer back for reuse.
   *
   * @param buffer A buffer of this pool.
   * @throws {TypeError} If the buffer is not live in this pool (released twice, or foreign).
   */
  release(buffer: GPUBuffer): void {
    const use = this.#live.get(buffer);
    if (use === undefined) {
      throw new TypeError(
        "Cannot release a buffer: expected one that is live in this pool, found one released before",
      );
    }
    this.#live.delete(buffer);
    this.#liveBytes -= buffer.size;
    this.#uses[use] -= buffer.size;
    this.#pooledBytes += buffer.size;
    this.#free.put(buffer.size, buffer);
  }

  /**
   * Counts memory that lies outside the pool, a texture's, as workspace.
   *
   * @param liveBytes Bytes that an owner takes or, if negative, gives back.
   * @param pooledBytes Growth of what waits for reuse. Default 0.
   * @throws {GpuMemoryError} If they pass the budget even after all pooled buffers are destroyed.
   */
  count(liveBytes: number, pooledBytes = 0): void {
    if (liveBytes + pooledBytes > 0) this.#makeRoom(liveBytes + pooledBytes, "a texture");
    this.#pooledBytes += pooledBytes;
    this.#take(liveBytes, "workspace");
  }

  /**
   * Destroys pooled buffers until at most `keepBytes` of them are left.
   *
   * @param keepBytes Pooled bytes to keep.
   */
  trim(keepBytes: number): void {
    if (this.#pooledBytes <= keepBytes) return;
    this.#options.flush();
    this.#options.onTrim();
    for (const size of [...this.#free.sizes].sort((a, b) => b - a)) {
      while (this.#pooledBytes > keepBytes) {
        const buffer = this.#free.take(size);
        if (!buffer) break;
        this.#pooledBytes -= size;
        this.#options.onDestroy(buffer);
        buffer.destroy();
      }
    }
  }

  /** Destroys every buffer, live ones included. */
  destroy(): void {
    this.trim(0);
    for (const buffer of this.#live.keys()) buffer.destroy();
    this.#live.clear();
    this.#liveBytes = 0;
    Object.assign(this.#uses, noBytes());
  }

  /**
   * Counts.
   *
   * @returns Bytes and counts now.
   */
  stats(): PoolStats {
    return {
      liveBytes: this.#liveBytes,
      pooledBytes: this.#pooledBytes,
      peakBytes: this.#peakBytes,
      peakLiveBytes: this.#peakLiveBytes,
      largestBufferBytes: this.#largestBufferBytes,
      createdBuffers: this.#createdBuffers,
    };
  }

  /** Bytes of the budget that nobody holds. */
  get spareBytes(): number {
    return this.#options.byteBudget - this.#liveBytes;
  }

  /** Live bytes by what they hold. */
  get uses(): MemoryUses {
    return { most: { ...this.#most }, atPeak: this.#atPeak };
  }

  /** Starts all maxima anew, from what is live and pooled now. */
  restartPeaks(): void {
    this.#peakBytes = this.#liveBytes + this.#pooledBytes;
    this.#peakLiveBytes = this.#liveBytes;
    this.#largestBufferBytes = 0;
    this.#atPeak = { ...this.#uses };
    Object.assign(this.#most, this.#uses);
  }

  #take(bytes: number, use: MemoryUse): void {
    this.#liveBytes += bytes;
    this.#uses[use] += bytes;
    this.#most[use] = Math.max(this.#most[use], this.#uses[use]);
    this.#peakBytes = Math.max(this.#peakBytes, this.#liveBytes + this.#pooledBytes);
    if (this.#liveBytes <= this.#peakLiveBytes) return;
    this.#peakLiveBytes = this.#liveBytes;
    this.#atPeak = { ...this.#uses };
  }

  #takeFree(size: number): GPUBuffer | undefined {
    let best = this.#free.has(size) ? size : Infinity;
    if (best === Infinity) {
      for (const other of this.#free.sizes) {
        if (other >= size && other <= size * SLACK && other < best) best = other;
      }
    }
    const buffer = this.#free.take(best);
    if (buffer) this.#pooledBytes -= buffer.size;
    return buffer;
  }

  #create(size: number, purpose: string): GPUBuffer {
    const { maxBufferBytes } = this.#options;
    if (size > maxBufferBytes) {
      throw new GpuMemoryError(
        `Cannot allocate ${size} bytes for ${purpose}: expected at most ${maxBufferBytes}, the largest buffer of this adapter`,
      );
    }
    this.#makeRoom(size, purpose);
    this.#createdBuffers++;
    return this.#device.createBuffer({
      label: purpose,
      size,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST |
        GPUBufferUsage.UNIFORM,
    });
  }

  #makeRoom(size: number, purpose: string): void {
    const { byteBudget } = this.#options;
    if (this.#liveBytes + this.#pooledBytes + size > byteBudget) {
      this.trim(Math.max(0, byteBudget - this.#liveBytes - size));
    }
    if (this.#liveBytes + size > byteBudget) {
      throw new GpuMemoryError(
        `Cannot allocate ${size} bytes for ${purpose}: expected at most ${
          byteBudget - this.#liveBytes
        } bytes left of the budget of ${byteBudget}, ${this.#liveBytes} are in use`,
      );
    }
  }
}

/** Measures every dispatch and transfer by timestamps, and what the host does meanwhile. @module */

import type { Dispatch } from "./recorder.ts";

/** Dispatches and transfers of the largest submit that is measured: two timestamps each. */
export const MOST_PROFILED = 1024;
/** What the names of transfers begin with; a kind follows. */
export const TRANSFER = "transfer.";

/** One dispatch, or copy between buffers or into a texture, as the device ran it. */
export interface DispatchTime {
  /** `kernel.entryPoint`, or {@linkcode TRANSFER} and a kind. */
  readonly operation: string;
  /** Begin on the host's clock (`performance.now`), in milliseconds. */
  readonly beginMs: number;
  /** Duration in milliseconds. */
  readonly durationMs: number;
  /** Floating-point operations, where the launcher knows them. */
  readonly operations: number | undefined;
  /** Bytes read and written, by default those of everything bound. */
  readonly bytes: number;
}

/** What the host did in a span of time. */
export interface HostSpan {
  /** Recording commands, handing them over, or waiting for the device. */
  readonly activity: "record" | "submit" | "wait";
  /** Begin (`performance.now`), in milliseconds. */
  readonly beginMs: number;
  /** Duration in milliseconds. */
  readonly durationMs: number;
}

/** What a {@linkcode Profiler} measured. */
export interface ProfileTimes {
  /** Every dispatch and transfer, in order. */
  readonly dispatches: readonly DispatchTime[];
  /** The host's spans, in order. */
  readonly spans: readonly HostSpan[];
  /** Duration from start to finish, in milliseconds. */
  readonly wallMs: number;
}

/** What is known of a dispatch before it ran. */
type Planned = Omit<DispatchTime, "beginMs" | "durationMs">;

/** A submit whose timestamps wait to be read. */
interface Measured {
  readonly dispatches: readonly Planned[];
  readonly timestamps: GPUBuffer;
  submittedMs: number;
}

/** Bytes of a timestamp. */
const STAMP_BYTES = 8;

/** Gives each dispatch two timestamps and keeps them until the end. */
export class Profiler implements Disposable {
  readonly #device: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #measured: Measured[] = [];
  readonly #spans: HostSpan[] = [];
  readonly #startMs = performance.now();
  #planned: Planned[] = [];
  #recordingMs: number | undefined;
  #submittingMs = 0;

  /**
   * Starts the clock.
   *
   * @param device A device with the feature `timestamp-query`.
   */
  constructor(device: GPUDevice) {
    this.#device = device;
    const count = 2 * MOST_PROFILED;
    this.#queries = device.createQuerySet({ type: "timestamp", count });
    this.#resolved = device.createBuffer({
      label: "timestamps",
      size: count * STAMP_BYTES,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
  }

  /** Notes that the host records, unless it does already. */
  recording(): void {
    this.#recordingMs ??= performance.now();
  }

  /**
   * Plans a dispatch.
   *
   * @param operation Its name.
   * @param dispatch What it is bound to and does.
   * @returns Where its pass writes the timestamps.
   */
  stamp(
    operation: string,
    { buffers, work }: Pick<Dispatch, "buffers" | "work">,
  ): GPUComputePassTimestampWrites {
    const bound = Object.values(buffers).reduce((sum, { bytes }) => sum + bytes, 0);
    const index = this.#plan({
      operation,
      operations: work?.operations,
      bytes: work?.bytes ?? bound,
    });
    return {
      querySet: this.#queries,
      beginningOfPassWriteIndex: index,
      endOfPassWriteIndex: index + 1,
    };
  }

  /**
   * Plans a transfer, which no pass can hold.
   *
   * @param kind Its kind.
   * @param bytes Bytes read and written.
   * @returns What an empty pass before it and one behind it write.
   */
  stampTransfer(
    kind: string,
    bytes: number,
  ): [GPUComputePassTimestampWrites, GPUComputePassTimestampWrites] {
    const index = this.#plan({ operation: TRANSFER + kind, operations: undefined, bytes });
    return [
      { querySet: this.#queries, endOfPassWriteIndex: index },
      { querySet: this.#queries, beginningOfPassWriteIndex: index + 1 },
    ];
  }

  /**
   * Records the copy of the timestamps, at the end of a submit.
   *
   * @param encoder Encoder of the submit.
   */
  submitting(encoder: GPUCommandEncoder): void {
    const count = 2 * this.#planned.length;
    const timestamps = this.#device.createBuffer({
      label: "timestamps",
      size: Math.max(1, count) * STAMP_BYTES,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
    if (count > 0) {
      encoder.resolveQuerySet(this.#queries, 0, count, this.#resolved, 0);
      encoder.copyBufferToBuffer(this.#resolved, 0, timestamps, 0, count * STAMP_BYTES);
    }
    this.#submittingMs = performance.now();
    if (this.#recordingMs !== undefined) this.#span("record", this.#recordingMs);
    this.#recordingMs = undefined;
    this.#measured.push({ dispatches: this.#planned, timestamps, submittedMs: this.#submittingMs });
    this.#planned = [];
  }

  /** Notes that the submit is handed over. */
  submitted(): void {
    this.#span("submit", this.#submittingMs);
  }

  /**
   * Notes a wait that ends now.
   *
   * @param beganMs When it began.
   */
  waited(beganMs: number): void {
    this.#span("wait", beganMs);
  }

  /**
   * Reads all timestamps; everything must be submitted.
   *
   * @returns The times.
   */
  async finish(): Promise<ProfileTimes> {
    const hostMs = performance.now() - this.#startMs;
    await Promise.all(this.#measured.map(({ timestamps }) => timestamps.mapAsync(GPUMapMode.READ)));
    const read = this.#measured.map(({ dispatches, timestamps, submittedMs }) => ({
      dispatches,
      submittedMs,
      stamps: new BigUint64Array(timestamps.getMappedRange().slice(0)),
    }));
    const origin = read.find(({ dispatches }) => dispatches.length > 0)?.stamps[0] ?? 0n;
    const toMs = (stamp: bigint): number => Number(stamp - origin) / 1e6;
    // No dispatch begins before its submit: the one that begins soonest after it puts the clocks side by side.
    let offsetMs = Infinity;
    for (const { dispatches, stamps, submittedMs } of read) {
      if (dispatches.length > 0) offsetMs = Math.min(offsetMs, toMs(stamps[0]!) - submittedMs);
    }
    const dispatches = read.flatMap(({ dispatches, stamps }) =>
      dispatches.map((planned, i) => ({
        ...planned,
        beginMs: toMs(stamps[2 * i]!) - offsetMs,
        durationMs: Math.max(0, toMs(stamps[2 * i + 1]!) - toMs(stamps[2 * i]!)),
      }))
    );
    const last = dispatches.at(-1);
    const deviceMs = last ? last.beginMs + last.durationMs - this.#startMs : 0;
    return { dispatches, spans: this.#spans, wallMs: Math.max(hostMs, deviceMs) };
  }

  /** Destroys what it holds. */
  [Symbol.dispose](): void {
    for (const { timestamps } of this.#measured) timestamps.destroy();
    this.#resolved.destroy();
    this.#queries.destroy();
  }

  /** Keeps what will run; returns the index of its first timestamp. */
  #plan(planned: Planned): number {
    return 2 * this.#planned.push(planned) - 2;
  }

  #span(activity: HostSpan["activity"], beginMs: number): void {
    this.#spans.push({ activity, beginMs, durationMs: performance.now() - beginMs });
  }
}

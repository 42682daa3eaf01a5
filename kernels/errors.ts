/** Errors of the engine that are not caused by one argument: the device's own failures and a spent byte budget. @module */

/** A failure that the GPU reported: an invalid shader, a validation error, a lost device. The message names the operation. */
export class GpuError extends Error {
  /** Tells it from other errors where they are printed. */
  override name = "GpuError";

  /**
   * Puts the name and the device's text into the message.
   *
   * @param operation Name of the kernel and entry point, or of the phase, that failed.
   * @param detail What the device said.
   */
  constructor(readonly operation: string, detail: string) {
    super(`Cannot run ${operation} on the GPU: ${detail.trim()}`);
  }
}

/** An allocation that would pass the byte budget or the adapter's limits. */
export class GpuMemoryError extends RangeError {
  /** Tells it from other errors where they are printed. */
  override name = "GpuMemoryError";
}

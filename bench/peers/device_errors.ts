/** What a peer's device reports beside the peer: errors that it would let go unseen. @module */

/** Errors of a device. */
export class DeviceErrors {
  #first: string | undefined;

  /**
   * Listens to a device.
   *
   * @param device The peer's own.
   */
  constructor(device: GPUDevice) {
    device.addEventListener("uncapturederror", (event) => {
      this.#first ??= (event as GPUUncapturedErrorEvent).error.message;
    });
  }

  /**
   * Throws the first error since the last call.
   *
   * @throws {Error} If the device reported one.
   */
  check(): void {
    const message = this.#first;
    this.#first = undefined;
    if (message !== undefined) throw new Error(`the device reported: ${message}`);
  }

  /**
   * Names the adapter that a peer gets when it asks for the default one, as the engine does.
   *
   * @returns Its name.
   */
  async adapterName(): Promise<string> {
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
    const info = adapter?.info;
    return info ? info.description || info.device || info.architecture : "none";
  }
}

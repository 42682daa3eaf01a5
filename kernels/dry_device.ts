/** A device that has sizes and no memory: on it, code runs as on the real one, and nothing is computed. @module */

/** A buffer that has a size only. */
class DryBuffer {
  constructor(readonly label: string, readonly size: number) {}

  mapAsync(): Promise<void> {
    return Promise.resolve();
  }

  getMappedRange(): ArrayBuffer {
    return new ArrayBuffer(this.size);
  }

  unmap(): void {}

  destroy(): void {}
}

/** A texture without texels. */
class DryTexture {
  readonly width: number;
  readonly height: number;

  constructor([width = 1, height = 1]: readonly number[]) {
    this.width = width;
    this.height = height;
  }

  createView(): Record<never, never> {
    return {};
  }

  destroy(): void {}
}

/** Takes commands and forgets them. */
class DryEncoder {
  beginComputePass(): DryEncoder {
    return this;
  }

  setPipeline(): void {}

  setBindGroup(): void {}

  dispatchWorkgroups(): void {}

  end(): void {}

  copyBufferToBuffer(): void {}

  copyBufferToTexture(): void {}

  clearBuffer(): void {}

  finish(): Record<never, never> {
    return {};
  }
}

/** Takes work and forgets it. */
class DryQueue {
  submit(): void {}

  writeBuffer(): void {}

  onSubmittedWorkDone(): Promise<void> {
    return Promise.resolve();
  }
}

/** What the engine uses of a `GPUDevice`. */
class DryDevice {
  readonly queue: DryQueue = new DryQueue();
  /** Never resolves: there is nothing to lose. */
  readonly lost: Promise<never> = new Promise(() => {});

  constructor(readonly limits: GPUSupportedLimits, readonly features: ReadonlySet<string>) {}

  addEventListener(): void {}

  pushErrorScope(): void {}

  popErrorScope(): Promise<null> {
    return Promise.resolve(null);
  }

  createBuffer({ label = "", size }: GPUBufferDescriptor): DryBuffer {
    return new DryBuffer(label, size);
  }

  createTexture({ size }: { size: readonly number[] }): DryTexture {
    return new DryTexture(size);
  }

  createShaderModule(): Record<never, never> {
    return {};
  }

  createBindGroupLayout(): Record<never, never> {
    return {};
  }

  createPipelineLayout(): Record<never, never> {
    return {};
  }

  createComputePipeline(): Record<never, never> {
    return {};
  }

  createBindGroup(): Record<never, never> {
    return {};
  }

  createCommandEncoder(): DryEncoder {
    return new DryEncoder();
  }

  destroy(): void {}
}

/**
 * Makes a device without memory. What is read from it is zero.
 *
 * @param limits Limits that it shall have.
 * @param features Features that it shall have.
 * @returns A device for everything that the engine does, but for measuring time.
 */
export function dryDevice(limits: GPUSupportedLimits, features: ReadonlySet<string>): GPUDevice {
  return new DryDevice(limits, features) as unknown as GPUDevice;
}

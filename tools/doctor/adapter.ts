/** What the doctor says of the adapter. @module */

import type { Gpu } from "../../kernels/gpu.ts";

/** PCI and Khronos numbers that drivers give instead of a name. */
const VENDORS: Readonly<Record<string, string>> = {
  "65541": "Mesa",
  "4098": "AMD",
  "4203": "Apple",
  "4318": "NVIDIA",
  "5045": "Arm",
  "20803": "Qualcomm",
  "32902": "Intel",
};

/** Features that the engine turns on where they are present. */
const FEATURES: Readonly<Record<string, string>> = {
  "shader-f16": "f16",
  "subgroups": "subgroups",
  "timestamp-query": "timestamps",
};

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** What is known of the machine. */
export interface Machine {
  /** `DENO_WEBGPU_BACKEND`, if it is set. */
  readonly backend: string | undefined;
  /** Bytes that buffers may take in all. */
  readonly budgetBytes: number;
  /** Bytes of memory. */
  readonly memoryBytes: number;
}

/**
 * Describes the adapter, its limits and features, and the memory that buffers may take.
 *
 * @param gpu The opened device.
 * @param machine The machine.
 * @returns Lines of `name   value`.
 */
export function describeAdapter(gpu: Gpu, machine: Machine): string[] {
  const { adapter, limits, features } = gpu;
  const vendor = VENDORS[adapter.vendor] ?? (adapter.vendor || "unknown");
  const { backend, budgetBytes, memoryBytes } = machine;
  const present = Object.keys(FEATURES).filter((name) => features.has(name));
  const absent = Object.keys(FEATURES).filter((name) => !features.has(name));
  const names = (list: readonly string[]): string =>
    list.map((name) => FEATURES[name]).join(", ") || "none";
  const lines: [string, string][] = [
    ["adapter", adapter.name],
    ["driver", `of ${vendor}${backend === undefined ? "" : `, through ${backend}`}`],
    ["kind", adapter.software ? "software: it computes on the CPU" : "GPU"],
    ["largest binding", `${(limits.maxStorageBufferBindingSize / MIB).toFixed(0)} MiB`],
    ["largest buffer", `${(limits.maxBufferSize / MIB).toFixed(0)} MiB`],
    ["bindings", `${limits.maxStorageBuffersPerShaderStage} storage buffers a kernel`],
    ["offsets", `multiples of ${limits.minStorageBufferOffsetAlignment} bytes`],
    [
      "workgroups",
      `${limits.maxComputeWorkgroupsPerDimension} a dimension, of at most ` +
      `${limits.maxComputeInvocationsPerWorkgroup} lanes and ` +
      `${limits.maxComputeWorkgroupStorageSize / 1024} KiB; ${gpu.threads} lanes by default`,
    ],
    ["features", `${names(present)} (absent: ${names(absent)}); kernels compute in f32`],
    ["memory budget", `${(budgetBytes / GIB).toFixed(1)} of ${(memoryBytes / GIB).toFixed(1)} GiB`],
  ];
  return lines.map(([name, value]) => `${name.padEnd(16)} ${value}`);
}

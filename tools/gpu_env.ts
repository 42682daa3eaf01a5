/**
 * Sets the environment in which WebGPU starts well on Linux; a task names this file with `--preload`.
 *
 * Without an `XDG_RUNTIME_DIR` the driver loader prints two error lines, and without
 * `DENO_WEBGPU_BACKEND` a machine that has no Vulkan driver gets a GL adapter that lacks most of what
 * the kernels use. Other systems keep their defaults (Metal, Direct3D 12), and a variable that
 * the user has set is never changed. A child process inherits both.
 *
 * @module
 */

import { tmpdir } from "node:os";

const DEFAULTS: Record<string, string> = Deno.build.os === "linux"
  ? { XDG_RUNTIME_DIR: tmpdir(), DENO_WEBGPU_BACKEND: "vulkan" }
  : {};

for (const [name, value] of Object.entries(DEFAULTS)) {
  if (Deno.env.get(name) === undefined) Deno.env.set(name, value);
}

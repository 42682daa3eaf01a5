/**
 * Sets the environment in which WebGPU starts well on Linux; a task names this file with `--preload`.
 *
 * Without an `XDG_RUNTIME_DIR` the driver loader prints two error lines, and without
 * `DENO_WEBGPU_BACKEND` a machine that has no Vulkan driver gets a GL adapter that lacks most of what
 * the kernels use. Mesa's and NVIDIA's drivers are told to keep compiled shaders in `.cache/shaders`. Other systems keep their defaults (Metal, Direct3D 12), and a variable that
 * the user has set is never changed. A child process inherits them.
 *
 * @module
 */

import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";

/** Where drivers keep compiled shaders, so that the next process starts warm: with the project, not with the user's other caches. */
const SHADER_CACHE = fileURLToPath(new URL("../.cache/shaders", import.meta.url));

const DEFAULTS: Record<string, string> = Deno.build.os === "linux"
  ? {
    XDG_RUNTIME_DIR: tmpdir(),
    DENO_WEBGPU_BACKEND: "vulkan",
    MESA_SHADER_CACHE_DIR: SHADER_CACHE,
    __GL_SHADER_DISK_CACHE_PATH: SHADER_CACHE,
  }
  : {};

try {
  Deno.mkdirSync(SHADER_CACHE, { recursive: true });
} catch {
  // Read-only: drivers keep their own places.
  delete DEFAULTS.MESA_SHADER_CACHE_DIR;
  delete DEFAULTS.__GL_SHADER_DISK_CACHE_PATH;
}

for (const [name, value] of Object.entries(DEFAULTS)) {
  if (Deno.env.get(name) === undefined) Deno.env.set(name, value);
}

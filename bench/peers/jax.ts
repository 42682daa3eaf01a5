/** jax-js as a subject of the bench: `jax.ts webgpu` or `jax.ts wasm`. @module */

import { defaultDevice, type Device, getWebGPUDevice, init } from "@jax-js/jax";
import { serve, Unsupported } from "../protocol.ts";
import { DeviceErrors } from "./device_errors.ts";
import { openOperation } from "./jax_operations.ts";
import configuration from "./deno.json" with { type: "json" };

const device: Device = Deno.args[0] === "wasm" ? "wasm" : "webgpu";

await serve(async () => {
  await init(device);
  defaultDevice(device);
  const errors = device === "webgpu" ? new DeviceErrors(getWebGPUDevice()) : undefined;
  return {
    name: `jax-js ${device}`,
    version: configuration.imports["@jax-js/jax"].replace(/.*@/, ""),
    adapter: await errors?.adapterName() ?? "processors, by WebAssembly",
    open: ({ operation }) => {
      if (operation.kind === "model") throw new Unsupported(`not written: ${operation.model}`);
      return openOperation(operation, () => errors?.check());
    },
  };
});

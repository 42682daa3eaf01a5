/** TensorFlow.js on WebGPU as a subject of the bench. @module */

// Registers the gradients.
import "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-webgpu";
import type { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import * as tf from "@tensorflow/tfjs-core";
import { serve, Unsupported } from "../protocol.ts";
import { DeviceErrors } from "./device_errors.ts";
import { openOperation } from "./tfjs_operations.ts";

await serve(async () => {
  await tf.setBackend("webgpu");
  await tf.ready();
  const backend = tf.backend() as WebGPUBackend;
  const errors = new DeviceErrors(backend.device);
  const settle = async (): Promise<void> => {
    // The backend submits every few ops by itself; this is the rest.
    backend.endComputePassEncoder();
    backend.submitQueue();
    await backend.device.queue.onSubmittedWorkDone();
    errors.check();
  };
  return {
    name: "tfjs webgpu",
    version: tf.version_core,
    adapter: await errors.adapterName(),
    open: ({ operation }) => {
      if (operation.kind === "model") throw new Unsupported(`not written: ${operation.model}`);
      return Promise.resolve(openOperation(operation, settle));
    },
  };
});

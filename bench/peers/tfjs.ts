/** TensorFlow.js on WebGPU as a subject of the bench. @module */

// Registers the gradients.
import "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-webgpu";
import type { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import * as tf from "@tensorflow/tfjs-core";
import { serve, Unsupported } from "../protocol.ts";
import { DeviceErrors } from "./device_errors.ts";
import { openStep } from "./tfjs_step.ts";
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
    open: async ({ operation }, folder) => {
      if (operation.kind !== "model") return openOperation(operation, settle);
      if (operation.model !== "tokenizer step" || folder === undefined) {
        throw new Unsupported(`not written: ${operation.model}`);
      }
      const step = await openStep(folder);
      // Reading its losses has waited for the device.
      const run = async (steps: number): Promise<void> => {
        await step.run(steps);
        errors.check();
      };
      return { ...step, run };
    },
  };
});

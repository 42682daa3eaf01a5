/** onnxruntime-web on WebGPU as a subject of the bench. @module */

import * as ort from "onnxruntime-web/webgpu";
import { draw, EPSILON, inputsOf, type Operation } from "../cases.ts";
import { elements, permuteAxes } from "../numbers.ts";
import { type OpenCase, serve, Unsupported } from "../protocol.ts";
import { DeviceErrors } from "./device_errors.ts";
import { encodeOnnx, type OnnxModel } from "./onnx.ts";

type Plain = Exclude<Operation, { kind: "model" }>;

/** Axes in ONNX's layouts, and back. */
const CHANNELS_FIRST = [0, 3, 1, 2], CHANNELS_LAST = [0, 2, 3, 1], OUTPUTS_FIRST = [3, 2, 0, 1];

/** A model, what its inputs are in ONNX's layout, and which axes bring its output back. */
interface Plan {
  model: OnnxModel;
  axes: Readonly<Record<string, readonly number[]>>;
  back: readonly number[] | undefined;
}

function planOf(operation: Plain): Plan {
  switch (operation.kind) {
    case "matmul": {
      const { rows, inner, columns } = operation;
      return plain({
        nodes: [{ op: "MatMul", inputs: ["a", "b"], outputs: ["y"] }],
        inputs: { a: [rows, inner], b: [inner, columns] },
        outputs: { y: [rows, columns] },
      });
    }
    case "conv2d": {
      const { batch, size, inputs, outputs, pass } = operation;
      if (pass !== "forward") throw new Unsupported("inference only: it has no gradients");
      const attributes = { "kernel_shape": [3, 3], pads: [1, 1, 1, 1], strides: [1, 1] };
      return {
        model: {
          nodes: [{ op: "Conv", inputs: ["x", "weight"], outputs: ["y"], attributes }],
          inputs: { x: [batch, inputs, size, size], weight: [outputs, inputs, 3, 3] },
          outputs: { y: [batch, outputs, size, size] },
        },
        axes: { x: CHANNELS_FIRST, weight: OUTPUTS_FIRST },
        back: CHANNELS_LAST,
      };
    }
    case "attention": {
      if (operation.pass !== "forward") throw new Unsupported("inference only: no gradients");
      const { heads, tokens, width } = operation;
      const shape = [1, tokens, heads * width];
      return plain({
        nodes: [{
          op: "MultiHeadAttention",
          inputs: ["query", "key", "value"],
          outputs: ["y"],
          domain: "com.microsoft",
          attributes: { "num_heads": heads },
        }],
        inputs: { query: shape, key: shape, value: shape },
        outputs: { y: shape },
      });
    }
    case "group norm + swish": {
      const { batch, size, channels, groups } = operation;
      const shape = [batch, channels, size, size];
      const attributes = { "num_groups": groups, epsilon: { float: EPSILON.groupNorm } };
      return {
        model: {
          nodes: [
            {
              op: "GroupNormalization",
              inputs: ["x", "weight", "bias"],
              outputs: ["n"],
              attributes,
            },
            { op: "Sigmoid", inputs: ["n"], outputs: ["s"] },
            { op: "Mul", inputs: ["n", "s"], outputs: ["y"] },
          ],
          inputs: { x: shape, weight: [channels], bias: [channels] },
          outputs: { y: shape },
        },
        axes: { x: CHANNELS_FIRST },
        back: CHANNELS_LAST,
      };
    }
    case "RMSNorm": {
      const shape = [operation.rows, operation.columns];
      return plain({
        nodes: [{
          op: "SimplifiedLayerNormalization",
          inputs: ["x", "weight"],
          outputs: ["y"],
          attributes: { axis: 1, epsilon: { float: EPSILON.rmsNorm } },
        }],
        inputs: { x: shape, weight: [operation.columns] },
        outputs: { y: shape },
      });
    }
    case "softmax": {
      const shape = [operation.rows, operation.columns];
      return plain({
        nodes: [{ op: "Softmax", inputs: ["x"], outputs: ["y"], attributes: { axis: 1 } }],
        inputs: { x: shape },
        outputs: { y: shape },
      });
    }
    case "add": {
      const shape = [operation.length];
      return plain({
        nodes: [{ op: "Add", inputs: ["a", "b"], outputs: ["y"] }],
        inputs: { a: shape, b: shape },
        outputs: { y: shape },
      });
    }
    case "sum": {
      // As a matrix: a single axis of this length is summed by one workgroup, many times slower.
      const side = Math.sqrt(operation.length);
      return plain({
        nodes: [{ op: "ReduceSum", inputs: ["x"], outputs: ["y"], attributes: { keepdims: 0 } }],
        inputs: { x: [side, side] },
        outputs: { y: [] },
      });
    }
  }
}

function plain(model: OnnxModel): Plan {
  return { model, axes: {}, back: undefined };
}

async function open(operation: Plain): Promise<OpenCase> {
  const { model, axes, back } = planOf(operation);
  const session = await ort.InferenceSession.create(encodeOnnx(model), {
    executionProviders: ["webgpu"],
    preferredOutputLocation: "gpu-buffer",
  });
  const device = await ort.env.webgpu.device as GPUDevice;
  errors ??= new DeviceErrors(device);
  const buffers: GPUBuffer[] = [];
  const feeds: Record<string, ort.Tensor> = {};
  for (const [name, input] of Object.entries(inputsOf(operation))) {
    const dims = model.inputs[name];
    if (!dims) continue;
    const order = axes[name];
    const data = order ? permuteAxes(draw(input), input.shape, order) : draw(input);
    const { STORAGE, COPY_DST, COPY_SRC } = GPUBufferUsage;
    const buffer = device.createBuffer({
      size: Math.ceil(data.byteLength / 16) * 16,
      usage: STORAGE | COPY_DST | COPY_SRC,
    });
    device.queue.writeBuffer(buffer, 0, data);
    buffers.push(buffer);
    feeds[name] = ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims });
  }
  const once = async (): Promise<ort.Tensor> => (await session.run(feeds)).y!;
  return {
    run: async (repetitions) => {
      for (let i = 0; i < repetitions; i++) (await once()).dispose();
      await device.queue.onSubmittedWorkDone();
      errors?.check();
    },
    result: async () => {
      const y = await once();
      const data = Float32Array.from(await y.getData(true) as Float32Array);
      return back && elements(y.dims) > 1 ? permuteAxes(data, y.dims, back) : data;
    },
    close: async () => {
      await session.release();
      for (const buffer of buffers) buffer.destroy();
    },
  };
}

let errors: DeviceErrors | undefined;

await serve(async () => {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  // The device is made with the first session.
  const first = await open({ kind: "softmax", rows: 1, columns: 4 });
  await first.close();
  return {
    name: "onnxruntime-web webgpu",
    version: ort.env.versions.web ?? "unknown",
    adapter: await errors?.adapterName() ?? "unknown",
    open: ({ operation }) => {
      if (operation.kind === "model") throw new Unsupported("inference only: it has no gradients");
      return open(operation);
    },
  };
});

/** The bench's operations in TensorFlow.js, in its default layouts. @module */

import * as tf from "@tensorflow/tfjs-core";
import { draw, EPSILON, inputsOf, type Operation } from "../cases.ts";
import { permuteAxes } from "../numbers.ts";
import type { OpenCase } from "../protocol.ts";

type Plain = Exclude<Operation, { kind: "model" }>;
type Inputs = Record<string, tf.Tensor>;

/** (batch, tokens, heads, channels) to (batch, heads, tokens, channels), and back. */
const HEADS_FIRST = [0, 2, 1, 3];

/**
 * Makes a case ready.
 *
 * @param operation What runs.
 * @param settle Waits for the device.
 * @returns The case.
 */
export function openOperation(operation: Plain, settle: () => Promise<void>): OpenCase {
  const inputs: Inputs = {};
  for (const [name, input] of Object.entries(inputsOf(operation))) {
    const data = draw(input);
    if (operation.kind === "attention") {
      const { shape } = input;
      const permuted = permuteAxes(data, shape, HEADS_FIRST);
      inputs[name] = tf.tensor(permuted, HEADS_FIRST.map((axis) => shape[axis]!));
    } else inputs[name] = tf.tensor(data, [...input.shape]);
  }
  const body = bodyOf(operation);
  return {
    run: async (repetitions) => {
      for (let i = 0; i < repetitions; i++) {
        for (const y of tf.tidy(() => body(inputs))) y.dispose();
      }
      await settle();
    },
    result: async () => {
      const tensors = tf.tidy(() => body(inputs));
      const parts: Float32Array<ArrayBuffer>[] = [];
      for (const y of tensors) {
        const data = Float32Array.from(await y.data());
        parts.push(operation.kind === "attention" ? permuteAxes(data, y.shape, HEADS_FIRST) : data);
        y.dispose();
      }
      return new Float32Array(await new Blob(parts).arrayBuffer());
    },
    close: () => tf.dispose(inputs),
  };
}

function bodyOf(operation: Plain): (inputs: Inputs) => tf.Tensor[] {
  switch (operation.kind) {
    case "matmul":
      return ({ a, b }) => [tf.matMul(a!, b!)];
    case "conv2d":
      return convolution(operation.pass);
    case "attention": {
      const scale = 1 / Math.sqrt(operation.width);
      const attend = (query: tf.Tensor, key: tf.Tensor, value: tf.Tensor): tf.Tensor =>
        tf.matMul(tf.softmax(tf.mul(tf.matMul(query, key, false, true), scale)), value);
      if (operation.pass === "forward") {
        return ({ query, key, value }) => [attend(query!, key!, value!)];
      }
      const gradients = tf.grads(attend);
      return ({ query, key, value, dy }) => gradients([query!, key!, value!], dy);
    }
    case "group norm + swish": {
      const { batch, size, channels, groups } = operation;
      return ({ x, weight, bias }) => {
        const grouped = tf.reshape(x!, [batch, size * size, groups, channels / groups]);
        const { mean, variance } = tf.moments(grouped, [1, 3], true);
        const deviation = tf.rsqrt(tf.add(variance, EPSILON.groupNorm));
        const normal = tf.reshape(tf.mul(tf.sub(grouped, mean), deviation), x!.shape);
        const y = tf.add(tf.mul(normal, weight!), bias!);
        return [tf.mul(y, tf.sigmoid(y))];
      };
    }
    case "RMSNorm":
      return ({ x, weight }) => {
        const squares = tf.mean(tf.square(x!), -1, true);
        return [tf.mul(tf.mul(x!, tf.rsqrt(tf.add(squares, EPSILON.rmsNorm))), weight!)];
      };
    case "softmax":
      return ({ x }) => [tf.softmax(x!)];
    case "add":
      return ({ a, b }) => [tf.add(a!, b!)];
    case "sum":
      return ({ x }) => [tf.sum(x!)];
  }
}

/** The gradients by the kernels that its own differentiation uses, without the forward pass. */
function convolution(
  pass: Extract<Operation, { kind: "conv2d" }>["pass"],
): (inputs: Inputs) => tf.Tensor[] {
  const attributes = { strides: 1, pad: "same", dataFormat: "NHWC" };
  return ({ x, weight, dy }) => {
    switch (pass) {
      case "forward":
        return [tf.conv2d(x as tf.Tensor4D, weight as tf.Tensor4D, 1, "same")];
      case "input gradient":
        return [
          tf.engine().runKernel(
            "Conv2DBackpropInput",
            { dy: dy!, filter: weight! },
            { ...attributes, inputShape: x!.shape },
          ) as tf.Tensor,
        ];
      case "weight gradient":
        return [
          tf.engine().runKernel(
            "Conv2DBackpropFilter",
            { x: x!, dy: dy! },
            { ...attributes, filterShape: weight!.shape },
          ) as tf.Tensor,
        ];
    }
  };
}

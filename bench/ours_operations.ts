/** The engine's ops as cases of the bench. @module */

import { conv2dForward, conv2dInputGradient, conv2dWeightGradient } from "../kernels/conv2d.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { attention } from "../nn/attention.ts";
import { groupNorm } from "../nn/group_norm.ts";
import { add } from "../nn/math.ts";
import { matmul } from "../nn/matmul.ts";
import { sum } from "../nn/reduce.ts";
import { rmsNorm } from "../nn/row_norm.ts";
import { softmax } from "../nn/softmax.ts";
import { Tape } from "../nn/tape.ts";
import { Parameter, type Tensor } from "../nn/tensor.ts";
import { draw, EPSILON, inputsOf, type Operation } from "./cases.ts";
import { geometry } from "./conv2d_bench.ts";
import type { OpenCase } from "./protocol.ts";

/** Records an operation; returns its results. */
type Body = (tape: Tape, inputs: Readonly<Record<string, Tensor>>) => Tensor[];

/**
 * Makes a case ready.
 *
 * @param gpu The device.
 * @param operation What runs.
 * @returns The case.
 */
export function openOperation(
  gpu: Gpu,
  operation: Exclude<Operation, { kind: "model" }>,
): OpenCase {
  const parameters = Object.entries(inputsOf(operation)).map(([name, input]) => {
    const parameter = new Parameter(gpu, input.shape);
    parameter.write(draw(input));
    return [name, parameter] as const;
  });
  const { record, body } = bodyOf(operation);
  const once = (tape: Tape): Tensor[] =>
    body(
      tape,
      Object.fromEntries(parameters.map(([name, parameter]) => [name, tape.constant(parameter)])),
    );
  return {
    run: async (repetitions) => {
      for (let i = 0; i < repetitions; i++) {
        using tape = new Tape(gpu, { record });
        once(tape);
      }
      await gpu.settle();
    },
    result: async () => {
      using tape = new Tape(gpu, { record });
      const parts = await gpu.read(once(tape).map(({ storage }) => storage));
      return new Float32Array(await new Blob(parts).arrayBuffer());
    },
    close: () => parameters.forEach(([, parameter]) => parameter[Symbol.dispose]()),
  };
}

function bodyOf(
  operation: Exclude<Operation, { kind: "model" }>,
): { record: boolean; body: Body } {
  const forward = (body: Body): { record: boolean; body: Body } => ({ record: false, body });
  switch (operation.kind) {
    case "matmul":
      return forward((_, { a, b }) => [matmul(a!, b!)]);
    case "conv2d":
      return forward(convolution(operation));
    case "attention": {
      const run: Body = (_, { query, key, value }) => [attention(query!, key!, value!)];
      if (operation.pass === "forward") return forward(run);
      return {
        record: true,
        body: (tape, inputs) => {
          const wanted = [inputs.query!, inputs.key!, inputs.value!];
          const gradients = tape.grad(run(tape, inputs)[0]!, wanted, {
            gradient: inputs.dy!,
            last: true,
          });
          return wanted.map((input) => gradients.get(input)!);
        },
      };
    }
    case "group norm + swish": {
      const options = { groups: operation.groups, eps: EPSILON.groupNorm, swish: true };
      return forward((_, { x, weight, bias }) => [
        groupNorm(x!, { weight: weight!, bias: bias! }, options),
      ]);
    }
    case "RMSNorm":
      return forward((_, { x, weight }) => [rmsNorm(x!, weight!, { eps: EPSILON.rmsNorm })]);
    case "softmax":
      return forward((_, { x }) => [softmax(x!)]);
    case "add":
      return forward((_, { a, b }) => [add(a!, b!)]);
    case "sum":
      return forward((_, { x }) => [sum(x!)]);
  }
}

/** One pass alone, by its launcher: the tape would run the forward pass as well. */
function convolution(operation: Extract<Operation, { kind: "conv2d" }>): Body {
  const { pass, batch, size, inputs, outputs } = operation;
  const sizes = geometry(batch, size, [inputs, outputs], 3, 1);
  return (tape, tensors) => {
    const x = tensors.x!.storage, weight = tensors.weight!.storage, dy = tensors.dy!.storage;
    const { gpu } = tape;
    if (pass === "forward") {
      const y = tape.alloc(tensors.dy!.shape);
      conv2dForward(gpu, { x, weight, y: y.storage }, sizes);
      return [y];
    }
    if (pass === "input gradient") {
      const dx = tape.alloc(tensors.x!.shape);
      conv2dInputGradient(gpu, { dy, weight, dx: dx.storage }, sizes);
      return [dx];
    }
    const dweight = tape.alloc(tensors.weight!.shape);
    conv2dWeightGradient(gpu, { x, dy, dweight: dweight.storage }, sizes);
    return [dweight];
  };
}

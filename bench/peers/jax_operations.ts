/** The bench's operations in jax-js: channels first, fused by `jit` where there is something to fuse. @module */

import { type Array as JaxArray, jit, lax, nn, numpy as np, vjp } from "@jax-js/jax";
import { draw, EPSILON, type Input, inputsOf, type Operation } from "../cases.ts";
import { permuteAxes } from "../numbers.ts";
import type { OpenCase } from "../protocol.ts";

type Plain = Exclude<Operation, { kind: "model" }>;
type Inputs = Record<string, JaxArray>;
/** Takes references of its own to the inputs. */
type Body = (inputs: Inputs) => JaxArray[];

/** Axes of an array in the engine's layout that jax-js has first, second, …, by operation and input. */
function axesOf(operation: Plain, name: string): readonly number[] | undefined {
  if (operation.kind === "conv2d") return name === "weight" ? [3, 2, 0, 1] : [0, 3, 1, 2];
  if (operation.kind === "group norm + swish" && name === "x") return [0, 3, 1, 2];
  return undefined;
}

/**
 * Makes a case ready.
 *
 * @param operation What runs.
 * @param check Throws what the device reported.
 * @returns The case.
 */
export async function openOperation(operation: Plain, check: () => void): Promise<OpenCase> {
  const inputs: Inputs = {};
  const specs = inputsOf(operation);
  for (const [name, input] of Object.entries(specs)) {
    const axes = axesOf(operation, name);
    const data = axes ? permuteAxes(draw(input), input.shape, axes) : draw(input);
    const shape = axes ? axes.map((axis) => input.shape[axis]!) : [...input.shape];
    inputs[name] = np.array(data).reshape(shape);
    await inputs[name].blockUntilReady();
  }
  const { body, like } = bodyOf(operation);
  return {
    run: async (repetitions) => {
      const results: JaxArray[] = [];
      for (let i = 0; i < repetitions; i++) results.push(...body(inputs));
      // Lazy: what is not awaited does not run.
      for (const y of results) {
        await y.blockUntilReady();
        y.dispose();
      }
      check();
    },
    result: async () => {
      const parts: Float32Array<ArrayBuffer>[] = [];
      for (const y of body(inputs)) {
        const { shape } = y;
        const data = Float32Array.from(await y.data());
        const axes = axesOf(operation, like);
        parts.push(axes ? permuteAxes(data, shape, inverse(axes)) : data);
      }
      return new Float32Array(await new Blob(parts).arrayBuffer());
    },
    close: () => Object.values(inputs).forEach((input) => input.dispose()),
  };
}

function inverse(axes: readonly number[]): number[] {
  return axes.map((_, axis) => axes.indexOf(axis));
}

/** What runs, and the input whose layout the result has. */
function bodyOf(operation: Plain): { body: Body; like: keyof Record<string, Input> } {
  switch (operation.kind) {
    case "matmul":
      return { body: ({ a, b }) => [np.matmul(a!.ref, b!.ref)], like: "a" };
    case "conv2d":
      return convolution(operation.pass);
    case "attention": {
      const attend = (query: JaxArray, key: JaxArray, value: JaxArray): JaxArray =>
        nn.dotProductAttention(query, key, value);
      if (operation.pass === "forward") {
        const run = jit(attend);
        const body: Body = ({ query, key, value }) => [run(query!.ref, key!.ref, value!.ref)];
        return { body, like: "query" };
      }
      const both = jit((query: JaxArray, key: JaxArray, value: JaxArray, dy: JaxArray) => {
        const [y, back] = vjp(attend, [query, key, value]);
        y.dispose();
        const gradients = back(dy);
        back.dispose();
        return gradients;
      });
      return {
        body: ({ query, key, value, dy }) => both(query!.ref, key!.ref, value!.ref, dy!.ref),
        like: "query",
      };
    }
    case "group norm + swish": {
      const { batch, size, channels, groups } = operation;
      const run = jit((x: JaxArray, weight: JaxArray, bias: JaxArray) => {
        const grouped = x.reshape([batch, groups, channels / groups, size * size]);
        const normal = nn.standardize(grouped, [2, 3], { epsilon: EPSILON.groupNorm });
        const shape = [1, groups, channels / groups, 1];
        const y = normal.mul(weight.reshape(shape)).add(bias.reshape(shape));
        return nn.silu(y).reshape([batch, channels, size, size]);
      });
      return { body: ({ x, weight, bias }) => [run(x!.ref, weight!.ref, bias!.ref)], like: "x" };
    }
    case "RMSNorm": {
      const run = jit((x: JaxArray, weight: JaxArray) => {
        const squares = np.mean(np.square(x.ref), -1, { keepdims: true });
        return x.mul(np.reciprocal(np.sqrt(squares.add(EPSILON.rmsNorm)))).mul(weight);
      });
      return { body: ({ x, weight }) => [run(x!.ref, weight!.ref)], like: "x" };
    }
    case "softmax": {
      const run = jit((x: JaxArray) => nn.softmax(x, -1));
      return { body: ({ x }) => [run(x!.ref)], like: "x" };
    }
    case "add":
      return { body: ({ a, b }) => [a!.ref.add(b!.ref)], like: "a" };
    case "sum":
      return { body: ({ x }) => [x!.ref.sum()], like: "x" };
  }
}

function convolution(
  pass: Extract<Operation, { kind: "conv2d" }>["pass"],
): { body: Body; like: string } {
  const convolve = (x: JaxArray, weight: JaxArray): JaxArray =>
    lax.convGeneralDilated(x, weight, [1, 1], "SAME");
  if (pass === "forward") {
    return { body: ({ x, weight }) => [convolve(x!.ref, weight!.ref)], like: "x" };
  }
  const inX = pass === "input gradient";
  return {
    body: ({ x, weight, dy }) => {
      // Lazy: the forward pass, whose result nobody asks for, does not run.
      const [y, back] = inX
        ? vjp((x: JaxArray) => convolve(x, weight!.ref), [x!.ref])
        : vjp((weight: JaxArray) => convolve(x!.ref, weight), [weight!.ref]);
      const [gradient] = back(dy!.ref);
      y.dispose();
      back.dispose();
      return [gradient!];
    },
    like: inX ? "x" : "weight",
  };
}

import { assertEquals, assertThrows } from "@std/assert";
import { ELEMENTWISE, EXACT } from "../tests/close.ts";
import { checkOp, gpuTest, type OpCase, randomNumbers } from "../tests/op_case.ts";
import {
  abs,
  clamp,
  gelu,
  leakyRelu,
  relu,
  sigmoid,
  silu,
  softplus,
  square,
} from "./activation.ts";
import { Tape } from "./tape.ts";
import type { Tensor } from "./tensor.ts";

const shape = [7, 3, 19];
/** Numbers at least 0.1 away from -1, 0 and 1, so that finite differences do not step over a kink. */
const awayFromKinks = randomNumbers(7 * 3 * 19, "kinks").map((value) => {
  const nearest = Math.max(-1, Math.min(1, Math.round(value)));
  return Math.abs(value - nearest) < 0.1 ? nearest + 0.2 : value;
});

function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

function caseOf(
  run: (x: Tensor) => Tensor,
  reference: (x: number) => number,
  options: Partial<OpCase> = {},
): OpCase {
  return {
    name: "of a size that no workgroup divides",
    inputs: { x: { shape, values: awayFromKinks } },
    run: ({ x }) => run(x!),
    reference: ({ x }) => x!.map(reference),
    close: ELEMENTWISE,
    bindingLimit: 512,
    half: ["x"],
    ...options,
  };
}

checkOp("silu()", [caseOf(silu, (x) => x * logistic(x))]);
checkOp("leakyRelu()", [caseOf((x) => leakyRelu(x, 0.2), (x) => x > 0 ? x : 0.2 * x)]);
checkOp("relu()", [caseOf(relu, (x) => Math.max(x, 0), { close: EXACT })]);
checkOp("gelu()", [
  caseOf(
    (x) => gelu(x, { approximate: "tanh" }),
    (x) => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    { name: "by tanh" },
  ),
  caseOf(gelu, (x) => {
    let integral = 0;
    for (let n = 0, term = x / Math.SQRT2; n < 80; n++) {
      integral += term / (2 * n + 1);
      term *= -x * x / 2 / (n + 1);
    }
    return x / 2 * (1 + 2 / Math.sqrt(Math.PI) * integral);
  }, { name: "by erf" }),
]);
checkOp("sigmoid()", [caseOf(sigmoid, logistic)]);
checkOp("softplus()", [caseOf(softplus, (x) => Math.log1p(Math.exp(x)))]);
checkOp("abs()", [caseOf(abs, Math.abs, { close: EXACT })]);
checkOp("square()", [caseOf(square, (x) => x * x)]);
checkOp("clamp()", [
  caseOf(
    (x) => clamp(x, { minimum: -1, maximum: 1 }),
    (x) => Math.max(-1, Math.min(1, x)),
    { close: EXACT },
  ),
]);

async function derivatives(
  tape: Tape,
  run: (x: Tensor) => Tensor,
  values: number[],
): Promise<number[]> {
  const x = tape.input(Float32Array.from(values), [values.length]);
  const ones = tape.input(new Float32Array(values.length).fill(1), [values.length]);
  return [...await tape.grad(run(x), [x], { gradient: ones }).get(x)!.read()];
}

gpuTest("activations have the reference's gradients at kinks", async (gpu) => {
  using tape = new Tape(gpu);
  assertEquals(await derivatives(tape, relu, [-1, 0, 1]), [0, 0, 1]);
  assertEquals(await derivatives(tape, (x) => leakyRelu(x, 0.25), [-1, 0, 1]), [0.25, 0.25, 1]);
  assertEquals(await derivatives(tape, abs, [-3, 0, 3]), [-1, 0, 1]);
  const limited = (x: Tensor): Tensor => clamp(x, { minimum: -1, maximum: 1 });
  assertEquals(await derivatives(tape, limited, [-2, -1, 0, 1, 2]), [0, 1, 1, 1, 0]);
});

gpuTest("activations stay finite for large inputs and pass NaN on", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([-1000, -200, 0, 30, 1000, NaN]), [6]);
  assertEquals(await silu(x).read(), new Float32Array([-0, -0, 0, 30, 1000, NaN]));
  assertEquals(await softplus(x).read(), new Float32Array([0, 0, Math.LN2, 30, 1000, NaN]));
  assertEquals((await relu(x).read())[5], NaN);
  assertEquals((await clamp(x, { minimum: -1, maximum: 1 }).read())[5], NaN);
  assertEquals((await gelu(x).read())[5], NaN);
});

gpuTest("clamp() rejects a minimum above the maximum", (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(1), [1]);
  assertThrows(() => clamp(x, { minimum: 1, maximum: 0 }), RangeError, "at most 0");
});

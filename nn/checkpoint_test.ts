import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { silu, square } from "./activation.ts";
import { cast } from "./cast.ts";
import { dropout } from "./dropout.ts";
import { linear } from "./linear.ts";
import { add, mul, scale } from "./math.ts";
import { mean } from "./reduce.ts";
import { Tape } from "./tape.ts";
import { Parameter, type Tensor } from "./tensor.ts";

/** How a part of the model runs: as it is, or as a segment. */
type Run = (tape: Tape, body: () => Tensor) => Tensor;

const plain: Run = (_tape, body) => body();
const segment: Run = (tape, body) => tape.checkpoint(body);

const ROWS = 33;
const WIDTH = 65;

function parameters(gpu: Gpu): Parameter[] {
  return [0, 1, 2].map((seed) => {
    const parameter = new Parameter(gpu, [WIDTH, WIDTH]);
    parameter.write(randomNumbers(WIDTH * WIDTH, `w${seed}`).map((value) => value / 8));
    return parameter;
  });
}

/** Blocks with dropout and a residual connection; one operand is read by all of them, in the middle of a sum of gradients. */
function model(x: Tensor, weights: readonly Parameter[], run: Run): Tensor {
  const { tape } = x;
  const shared = square(x);
  let h = mul(shared, x);
  for (const weight of weights) {
    const input = h;
    h = run(tape, () => {
      const gated = mul(silu(linear(input, { weight })), shared);
      return add(dropout(gated, 0.3), input);
    });
  }
  return mean(cast(mul(h, shared), "f32"));
}

/** Loss and gradients as they are in memory. */
async function results(
  gpu: Gpu,
  weights: readonly Parameter[],
  run: Run,
  { half = false } = {},
): Promise<Uint16Array[]> {
  using tape = new Tape(gpu, { seed: 3, step: 5 });
  const numbers = randomNumbers(ROWS * WIDTH, "x");
  const x = tape.input(half ? Float16Array.from(numbers) : numbers, [ROWS, WIDTH]);
  const loss = model(x, weights, run);
  tape.retain(loss);
  const gradients = tape.grad(loss, [x, ...weights], { last: true });
  const tensors = [loss, ...[x, ...weights].map((operand) => gradients.get(operand)!)];
  const parts = await gpu.read(tensors.map(({ storage }) => storage));
  return parts.map((part) => new Uint16Array(part));
}

gpuTest("Tape.checkpoint() changes no bit of loss and gradients, dropout included", async (gpu) => {
  const weights = parameters(gpu);
  const expected = await results(gpu, weights, plain);
  assertEquals(await results(gpu, weights, segment), expected);
  const nested: Run = (tape, body) =>
    tape.checkpoint(() => scale(tape.checkpoint(() => tape.checkpoint(body)), 1));
  const flat: Run = (_tape, body) => scale(body(), 1);
  assertEquals(await results(gpu, weights, nested), await results(gpu, weights, flat));
  if (gpu.features.has("shader-f16")) {
    const half = { half: true };
    assertEquals(
      await results(gpu, weights, segment, half),
      await results(gpu, weights, plain, half),
    );
  }
  for (const weight of weights) weight[Symbol.dispose]();
});

gpuTest("Tape.checkpoint() keeps the result only, until the backward pass", (gpu) => {
  using tape = new Tape(gpu);
  const size = 2 ** 16;
  const x = tape.input(new Float32Array(size), [size]);
  const before = gpu.stats().liveBytes;
  let inner: Tensor | undefined;
  const y = tape.checkpoint(() => {
    inner = square(x);
    return square(square(inner));
  });
  assertEquals(gpu.stats().liveBytes - before, 4 * size);
  assertThrows(() => inner!.storage, TypeError, "released");
  const gradient = tape.input(new Float32Array(size), [size]);
  const gradients = tape.grad(y, [x], { gradient, last: true });
  tape.release(gradient, gradients.get(x)!);
  assertEquals(gpu.stats().liveBytes, before);
});

gpuTest("a tape with segments is walked twice, and only as far as it must be", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([2]), [1]);
  let runs = 0;
  const y = tape.checkpoint(() => {
    runs++;
    return square(square(x));
  });
  const z = tape.checkpoint(() => [scale(y, 3), square(y)] as const);
  const loss = add(z[0], z[1]);
  assertEquals([...await tape.grad(loss, [z[0]]).get(z[0])!.read()], [1]);
  assertEquals(runs, 1, "nothing behind the wanted operand runs again");
  for (let walk = 0; walk < 2; walk++) {
    const gradients = tape.grad(loss, [x, y]);
    assertEquals([...await gradients.get(y)!.read()], [3 + 2 * 16]);
    assertEquals([...await gradients.get(x)!.read()], [35 * 32]);
  }
  assertEquals(runs, 3);
});

gpuTest("Tape.checkpoint() is a scope on a tape that does not record", async (gpu) => {
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(new Float32Array([3]), [1]);
  const before = gpu.stats().liveBytes;
  const y = tape.checkpoint(() => square(square(x)));
  assertEquals(gpu.stats().liveBytes - before, 256);
  assertEquals([...await y.read()], [81]);
});

gpuTest("Tape.firstNonFinite() names an op inside a segment", async (gpu) => {
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array([1e15]), [1]);
  const loss = tape.checkpoint(() => mean(square(scale(square(x), 10))));
  const before = gpu.stats().liveBytes;
  assertEquals(await tape.firstNonFinite(loss, [x]), "square");
  // The gradient of x stays.
  assert(gpu.stats().liveBytes <= before + 256);
});

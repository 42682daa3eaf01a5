import { assertEquals, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { assertClose, ELEMENTWISE } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { ExponentialMovingAverage } from "./ema.ts";
import { clipGradients, gradientNorm } from "./gradient_norm.ts";
import { Adam, type AdamOptions, type AdamStepSettings } from "./optim.ts";
import { Tape } from "./tape.ts";
import { type Operand, Parameter, type Tensor } from "./tensor.ts";

function parameterOf(gpu: Gpu, values: Float32Array): Parameter {
  const parameter = new Parameter(gpu, [values.length]);
  parameter.write(values);
  return parameter;
}

function gradientsOf(tape: Tape, pairs: [Operand, Float32Array][]): Map<Operand, Tensor> {
  return new Map(pairs.map(([operand, values]) => [operand, tape.input(values, [values.length])]));
}

/** Adam in double precision, from its formulas. */
function adamOnHost(
  start: Float32Array,
  gradients: Float32Array[],
  options: AdamOptions & AdamStepSettings,
): number[] {
  const { betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0, decoupled } = options;
  const { learningRate, clip = Infinity } = options;
  return [...start].map((value, i) => {
    let [p, m, v] = [value, 0, 0];
    for (const [t, all] of gradients.entries()) {
      const norm = Math.hypot(...all);
      let g = all[i]! * Math.min(1, clip / (norm + 1e-6));
      if (decoupled) p -= learningRate * weightDecay * p;
      else g += weightDecay * p;
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      const mean = m / (1 - beta1 ** (t + 1));
      p -= learningRate * mean / (Math.sqrt(v / (1 - beta2 ** (t + 1))) + eps);
    }
    return p;
  });
}

const settings: [name: string, options: AdamOptions & AdamStepSettings][] = [
  ["Adam", { betas: [0.5, 0.9], learningRate: 1e-2 }],
  ["Adam with weight decay and a large eps", { weightDecay: 0.1, eps: 0.1, learningRate: 1e-2 }],
  ["AdamW", { betas: [0.9, 0.95], weightDecay: 0.5, decoupled: true, learningRate: 1e-2 }],
  ["AdamW with clipping", { weightDecay: 0.5, decoupled: true, learningRate: 1e-2, clip: 0.7 }],
];

for (const [name, options] of settings) {
  gpuTest(`Adam.step() follows the formulas of ${name}, in ranges too`, async (gpu) => {
    using limited = await Gpu.open({ maxBindingBytes: 256 });
    const start = randomNumbers(131, "start");
    const gradients = [1, 2, 3].map((step) => randomNumbers(131, `gradient ${step}`));
    for (const device of [gpu, limited]) {
      using parameter = parameterOf(device, start);
      using optimizer = new Adam([["p", parameter]], options);
      for (const gradient of gradients) {
        using tape = new Tape(device);
        optimizer.step(gradientsOf(tape, [[parameter, gradient]]), options);
      }
      assertClose(
        await parameter.read(),
        adamOnHost(start, gradients, options),
        ELEMENTWISE,
        "parameter",
      );
      assertEquals(optimizer.stepCounts, { p: 3 });
    }
  });
}

gpuTest("Adam.step() leaves parameters without gradient untouched", async (gpu) => {
  const start = new Float32Array([1, 2]);
  using used = parameterOf(gpu, start);
  using unused = parameterOf(gpu, start);
  using frozen = new Parameter(gpu, [2], { trainable: false });
  const named: [string, Parameter][] = [["a", used], ["b", unused], ["c", frozen]];
  using optimizer = new Adam(named, { weightDecay: 1 });
  using tape = new Tape(gpu);
  const gradients = gradientsOf(tape, [[used, new Float32Array([3, 4])]]);
  const norm = optimizer.step(gradients, { learningRate: 0.1 });
  assertEquals([...await norm.read()], [5]);
  assertEquals(await unused.read(), start);
  assertEquals(optimizer.stepCounts, { a: 1, b: 0 });
  assertEquals(
    [...optimizer.state()].map(([name]) => name),
    ["a.exp_avg", "a.exp_avg_sq", "b.exp_avg", "b.exp_avg_sq"],
  );
});

gpuTest("Adam.step() changes nothing at all if one gradient is not finite", async (gpu) => {
  using a = parameterOf(gpu, new Float32Array([1, 2]));
  using b = parameterOf(gpu, new Float32Array([3]));
  using optimizer = new Adam([["a", a], ["b", b]], { weightDecay: 0.1, decoupled: true });
  using averages = new ExponentialMovingAverage([["a", a], ["b", b]]);
  const state = async (): Promise<number[][]> =>
    await Promise.all(
      [...optimizer.state(), ...averages.averages(), ["a", a] as const, ["b", b] as const].map(
        async ([, parameter]) => [...await parameter.read()],
      ),
    );
  using tape = new Tape(gpu);
  const good = new Float32Array([1, -1]);
  optimizer.step(gradientsOf(tape, [[a, good], [b, good.slice(1)]]), {
    learningRate: 0.1,
    averages,
  });
  averages.update();
  const before = await state();
  for (const bad of [NaN, Infinity, -Infinity]) {
    const gradients = gradientsOf(tape, [[a, good], [b, new Float32Array([bad])]]);
    const norm = optimizer.step(gradients, { learningRate: 0.1, clip: 1, averages });
    averages.update();
    assertEquals(Number.isFinite((await norm.read())[0]), false);
    assertEquals(await state(), before);
  }
});

/** Parameters of many sizes, one of them too large to share a buffer. */
const SIZES = [1, 7, 64, 65, 300_000, 3, 128, 2];

gpuTest(
  "Adam.step() of many parameters equals steps of each alone, with averages and scale",
  async (gpu) => {
    const settings = { learningRate: 0.01, gradientScale: -0.25, weightDecay: 0.1 };
    const starts = SIZES.map((size, i) => randomNumbers(size, `start ${i}`));
    const gradients = SIZES.map((size, i) => randomNumbers(size, `gradient ${i}`));
    /** The state after three steps, the second without the gradient of a parameter; averages move with their parameters, or later. */
    const train = async (together: boolean): Promise<Float32Array[]> => {
      using parameters = new DisposableStack();
      const named = starts.map((start, i): [string, Parameter] => [
        `p${i}`,
        parameters.use(parameterOf(gpu, start)),
      ]);
      const groups = together ? [named] : named.map((one) => [one]);
      using optimizers = new DisposableStack();
      const adams = groups.map((group) => optimizers.use(new Adam(group)));
      using averages = new ExponentialMovingAverage(named.slice(1), { warmup: true });
      for (let step = 0; step < 3; step++) {
        using tape = new Tape(gpu);
        const pairs = named.map(([, parameter], i): [Parameter, Float32Array] => [
          parameter,
          gradients[i]!,
        ]).filter((_, i) => step !== 1 || i !== 3);
        for (const [i, adam] of adams.entries()) {
          const own = together ? pairs : pairs.filter(([parameter]) => parameter === named[i]![1]);
          if (own.length === 0) continue;
          adam.step(gradientsOf(tape, own), together ? { ...settings, averages } : settings);
        }
        averages.update();
      }
      const moments = adams.flatMap((adam) => [...adam.state()]);
      return await Promise.all(
        [...named, ...averages.averages(), ...moments].map(([, { read }], i, all) =>
          read.call(all[i]![1])
        ),
      );
    };
    const [together, alone] = [await train(true), await train(false)];
    for (const [i, values] of together.entries()) {
      assertClose(values, alone[i]!, ELEMENTWISE, `tensor ${i}`);
    }
  },
);

gpuTest("Adam.step() with a scale equals a step with scaled gradients", async (gpu) => {
  const [start, gradient] = [randomNumbers(37, "start"), randomNumbers(37, "gradient")];
  const norms: Float32Array[] = [];
  const parameters: Float32Array[] = [];
  for (const gradientScale of [-0.25, 1]) {
    using parameter = parameterOf(gpu, start);
    using optimizer = new Adam([["p", parameter]]);
    using tape = new Tape(gpu);
    const scaled = gradientScale === 1 ? gradient.map((value) => -0.25 * value) : gradient;
    const gradients = gradientsOf(tape, [[parameter, scaled]]);
    const norm = optimizer.step(gradients, { learningRate: 0.1, clip: 0.5, gradientScale });
    norms.push(await norm.read());
    parameters.push(await parameter.read());
  }
  assertClose(norms[0]!, norms[1]!, ELEMENTWISE, "norm");
  assertClose(parameters[0]!, parameters[1]!, ELEMENTWISE, "parameter");
});

gpuTest("Adam.step() takes a handful of dispatches for many parameters", (gpu) => {
  using parameters = new DisposableStack();
  const named = Array.from({ length: 150 }, (_, i): [string, Parameter] => [
    `p${i}`,
    parameters.use(parameterOf(gpu, new Float32Array(1 + 10 * i))),
  ]);
  using optimizer = new Adam(named);
  using averages = new ExponentialMovingAverage(named);
  using tape = new Tape(gpu);
  const gradients = gradientsOf(
    tape,
    named.map(([, parameter]) => [parameter, new Float32Array(parameter.size)]),
  );
  const before = gpu.stats().dispatches;
  optimizer.step(gradients, { learningRate: 0.1, clip: 1, averages });
  averages.update();
  assertEquals(gpu.stats().dispatches - before < 10, true);
});

gpuTest("Adam gives parameters buffers of their own again when it is disposed", async (gpu) => {
  using parameter = parameterOf(gpu, new Float32Array([1, 2, 3]));
  using gone = parameterOf(gpu, new Float32Array([4]));
  const first = new Adam([["a", parameter], ["b", gone]]);
  const second = new Adam([["a", parameter]]);
  gone[Symbol.dispose]();
  first[Symbol.dispose]();
  assertEquals([...await parameter.read()], [1, 2, 3]);
  second[Symbol.dispose]();
  assertEquals([...await parameter.read()], [1, 2, 3]);
});

gpuTest("Adam continues the same from a restored state", async (gpu) => {
  using original = parameterOf(gpu, randomNumbers(7, "p"));
  using first = new Adam([["p", original]]);
  using tape = new Tape(gpu);
  const step = (optimizer: Adam, parameter: Parameter, seed: string): Tensor =>
    optimizer.step(gradientsOf(tape, [[parameter, randomNumbers(7, seed)]]), {
      learningRate: 0.01,
    });
  step(first, original, "one");
  using copy = parameterOf(gpu, await original.read());
  using second = new Adam([["p", copy]]);
  const saved = await Promise.all([...first.state()].map(([, moment]) => moment.read()));
  for (const [i, [, moment]] of [...second.state()].entries()) moment.write(saved[i]!);
  second.restoreStepCounts(first.stepCounts);
  step(first, original, "two");
  step(second, copy, "two");
  assertEquals(await copy.read(), await original.read());
});

gpuTest("Adam takes no bytes from step to step", async (gpu) => {
  using parameter = parameterOf(gpu, new Float32Array(1000));
  using optimizer = new Adam([["p", parameter]]);
  const live: number[] = [];
  for (let step = 0; step < 3; step++) {
    {
      using tape = new Tape(gpu);
      const gradients = gradientsOf(tape, [[parameter, new Float32Array(1000)]]);
      optimizer.step(gradients, { learningRate: 0.1, clip: 1 });
    }
    live.push(gpu.stats().liveBytes);
  }
  await gpu.settle();
  assertEquals(new Set(live).size, 1);
});

gpuTest(
  "clipGradients() scales to the norm, and leaves short gradients as they are",
  async (gpu) => {
    using tape = new Tape(gpu);
    const keys = [tape.alloc([1]), tape.alloc([1])];
    const [a, b] = [new Float32Array([3, 0]), new Float32Array([0, 0, 4])];
    const gradients = gradientsOf(tape, [[keys[0]!, a], [keys[1]!, b]]);
    const clipped = clipGradients(gradients, 1);
    assertEquals([...await clipped.norm.read()], [5]);
    const factor = 1 / (5 + 1e-6);
    assertClose(await clipped.gradients.get(keys[0]!)!.read(), [3 * factor, 0], ELEMENTWISE, "a");
    assertClose(
      await clipped.gradients.get(keys[1]!)!.read(),
      [0, 0, 4 * factor],
      ELEMENTWISE,
      "b",
    );
    assertEquals(await clipGradients(gradients, 6).gradients.get(keys[1]!)!.read(), b);
  },
);

gpuTest("gradientNorm() of many large gradients keeps its digits", async (gpu) => {
  using tape = new Tape(gpu);
  const gradients = Array.from({ length: 300 }, (_, i) => {
    const values = randomNumbers(1 + 13 * i, `gradient ${i}`);
    return { values, tensor: tape.input(values, [values.length]) };
  });
  const expected = Math.sqrt(
    gradients.reduce((sum, { values }) => sum + values.reduce((s, v) => s + v * v, 0), 0),
  );
  const norm = gradientNorm(gradients.map(({ tensor }) => tensor));
  assertClose(await norm.read(), [expected], ELEMENTWISE, "norm");
});

gpuTest("Adam rejects bad hyperparameters, gradients and counts", (gpu) => {
  using parameter = parameterOf(gpu, new Float32Array(2));
  assertThrows(() => new Adam([], { betas: [1, 0.9] }), RangeError, "betas in [0, 1)");
  assertThrows(() => new Adam([], { weightDecay: -1 }), RangeError, "at least 0");
  using optimizer = new Adam([["p", parameter]]);
  using tape = new Tape(gpu);
  assertThrows(() => optimizer.step(new Map(), { learningRate: 1 }), TypeError, "found none");
  const wrong = gradientsOf(tape, [[parameter, new Float32Array(3)]]);
  assertThrows(
    () => optimizer.step(wrong, { learningRate: 1 }),
    TypeError,
    "the gradient of p: expected shape [2], found [3]",
  );
  assertThrows(() => optimizer.restoreStepCounts({}), TypeError, "expected p");
  assertThrows(() => optimizer.restoreStepCounts({ p: 1.5 }), RangeError, "found 1.5");
});

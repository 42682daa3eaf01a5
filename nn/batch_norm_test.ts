import { assertEquals, assertThrows } from "@std/assert";
import { Gpu } from "../kernels/gpu.ts";
import { assertClose, ELEMENTWISE, GRADIENT, HALF, REDUCTION } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { BatchNorm } from "./batch_norm.ts";
import { ModuleContext } from "./module.ts";
import { Tape } from "./tape.ts";

const SHAPE = [3, 5, 7, 6];
const CHANNELS = 6;
const COUNT = 105;

interface Run {
  y: Float32Array;
  dx: Float32Array;
  dweight: Float32Array;
  dbias: Float32Array;
}

/** One forward and backward pass of a module whose weights are not the initial ones. */
async function run(
  gpu: Gpu,
  options: { training: boolean; shift?: (name: string) => Float32Array | undefined },
): Promise<Run & { running: Float32Array[]; batches: number }> {
  using norm = new BatchNorm(new ModuleContext(gpu, 0), { channels: CHANNELS });
  const values = (name: string, count: number): Float32Array => {
    const shift = options.shift?.(name);
    return randomNumbers(count, name).map((value, i) => value + (shift?.[i] ?? 0));
  };
  norm.weight.write(values("weight", CHANNELS));
  norm.bias.write(values("bias", CHANNELS));
  norm.running.mean.write(randomNumbers(CHANNELS, "mean"));
  norm.running.variance.write(randomNumbers(CHANNELS, "variance").map((v) => 1 + v * v));
  using tape = new Tape(gpu);
  const x = tape.input(values("x", COUNT * CHANNELS), SHAPE);
  const y = norm.forward(x, options);
  const gradient = tape.input(randomNumbers(COUNT * CHANNELS, "dy"), SHAPE);
  const gradients = tape.grad(y, [x, norm.weight, norm.bias], { gradient });
  return {
    y: await y.read(),
    dx: await gradients.get(x)!.read(),
    dweight: await gradients.get(norm.weight)!.read(),
    dbias: await gradients.get(norm.bias)!.read(),
    running: [await norm.running.mean.read(), await norm.running.variance.read()],
    batches: new Uint32Array((await norm.running.batchesTracked.read()).buffer)[0]!,
  };
}

function channel(values: Float32Array, c: number): number[] {
  return [...values].filter((_, i) => i % CHANNELS === c);
}

gpuTest("BatchNorm normalizes by the batch and moves its averages while training", async (gpu) => {
  const { y, running, batches } = await run(gpu, { training: true });
  assertEquals(batches, 1);
  const x = randomNumbers(COUNT * CHANNELS, "x");
  const [weight, bias, mean0, variance0] = ["weight", "bias", "mean", "variance"].map((name) =>
    randomNumbers(CHANNELS, name)
  );
  for (let c = 0; c < CHANNELS; c++) {
    const values = channel(x, c);
    const mean = values.reduce((a, b) => a + b) / COUNT;
    const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
    const scale = weight![c]! / Math.sqrt(squares / COUNT + 1e-5);
    assertClose(
      channel(y, c),
      values.map((v) => (v - mean) * scale + bias![c]!),
      REDUCTION,
      `channel ${c}`,
    );
    const variance = 0.9 * (1 + variance0![c]! ** 2) + 0.1 * squares / (COUNT - 1);
    assertClose(
      [running[0]![c]!, running[1]![c]!],
      [0.9 * mean0![c]! + 0.1 * mean, variance],
      REDUCTION,
      `averages of channel ${c}`,
    );
  }
});

gpuTest("BatchNorm normalizes by its averages and keeps them otherwise", async (gpu) => {
  const { y, running, batches } = await run(gpu, { training: false });
  assertEquals(batches, 0);
  assertEquals(running[0], randomNumbers(CHANNELS, "mean"));
  const x = randomNumbers(COUNT * CHANNELS, "x");
  const [weight, bias, mean, variance] = ["weight", "bias", "mean", "variance"].map((name) =>
    randomNumbers(CHANNELS, name)
  );
  const expected = [...x].map((value, i) => {
    const c = i % CHANNELS;
    const scale = weight![c]! / Math.sqrt(1 + variance![c]! ** 2 + 1e-5);
    return (value - mean![c]!) * scale + bias![c]!;
  });
  assertClose(y, expected, ELEMENTWISE, "values");
});

for (const training of [true, false]) {
  gpuTest(
    `batchNorm() gradients equal finite differences, ${training ? "training" : "evaluating"}`,
    async (gpu) => {
      const analytic = await run(gpu, { training });
      const upstream = randomNumbers(COUNT * CHANNELS, "dy");
      for (const [name, key] of [["x", "dx"], ["weight", "dweight"], ["bias", "dbias"]] as const) {
        const gradient = analytic[key];
        const length = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0) / gradient.length);
        const v = randomNumbers(gradient.length, `${name} direction`).map((r, i) =>
          r + gradient[i]! / length
        );
        const along = async (epsilon: number): Promise<number> => {
          const shifted = await run(gpu, {
            training,
            shift: (other) => other === name ? v.map((value) => epsilon * value) : undefined,
          });
          return shifted.y.reduce((sum, y, i) => sum + y * upstream[i]!, 0);
        };
        const numeric = (await along(1e-2) - await along(-1e-2)) / 2e-2;
        const expected = gradient.reduce((sum, g, i) => sum + g * v[i]!, 0);
        assertClose([expected], [numeric], GRADIENT, `derivative by ${name}`);
      }
    },
  );
}

gpuTest("batchNorm() gives the same with bindings of at most 2048 bytes", async (gpu) => {
  using limited = await Gpu.open({ maxBindingBytes: 2048 });
  const whole = await run(gpu, { training: true });
  const ranged = await run(limited, { training: true });
  for (const key of ["y", "dx", "dweight", "dbias"] as const) {
    assertClose(ranged[key], whole[key], REDUCTION, key);
  }
});

gpuTest("batchNorm() refuses to train on one value a channel", (gpu) => {
  using norm = new BatchNorm(new ModuleContext(gpu, 0), { channels: 2 });
  using tape = new Tape(gpu);
  const x = tape.input(new Float32Array(2), [1, 1, 1, 2]);
  assertThrows(() => norm.forward(x, { training: true }), RangeError, "at least 2 values");
});

gpuTest("BatchNorm uses the reference's names and trains only weight and bias", (gpu) => {
  using norm = new BatchNorm(new ModuleContext(gpu, 0), { channels: 2 });
  assertEquals(
    [...norm.namedParameters()].map(([name, { trainable }]) => [name, trainable]),
    [
      ["weight", true],
      ["bias", true],
      ["running_mean", false],
      ["running_var", false],
      ["num_batches_tracked", false],
    ],
  );
});

gpuTest("BatchNorm of f16 equals that of f32", async (gpu) => {
  if (!gpu.features.has("shader-f16")) return;
  using norm = new BatchNorm(new ModuleContext(gpu, 0), { channels: CHANNELS });
  const x = Float16Array.from(randomNumbers(COUNT * CHANNELS, "x"));
  const dy = Float16Array.from(randomNumbers(COUNT * CHANNELS, "dy"));
  const results: Promise<Float32Array>[][] = [];
  for (const [values, upstream] of [[x, dy], [Float32Array.from(x), Float32Array.from(dy)]]) {
    using tape = new Tape(gpu);
    const input = tape.input(values!, SHAPE);
    const y = norm.forward(input, { training: true });
    const gradient = tape.input(upstream!, SHAPE);
    const gradients = tape.grad(y, [input, norm.weight], { gradient });
    assertEquals(gradients.get(norm.weight)!.dtype, "f32");
    results.push([y, ...gradients.values()].map((tensor) => tensor.read()));
  }
  const [half, full] = await Promise.all(results.map((reads) => Promise.all(reads)));
  for (const [i, values] of half!.entries()) assertClose(values, full![i]!, HALF, `tensor ${i}`);
});

import { assertEquals, assertThrows } from "@std/assert";
import { assertClose, ELEMENTWISE } from "../tests/close.ts";
import { gpuTest } from "../tests/op_case.ts";
import { ExponentialMovingAverage } from "./ema.ts";
import { Parameter } from "./tensor.ts";

gpuTest("ExponentialMovingAverage.update() follows the formula", async (gpu) => {
  using parameter = new Parameter(gpu, [2]);
  using frozen = new Parameter(gpu, [1], { trainable: false });
  parameter.write(new Float32Array([1, -2]));
  using ema = new ExponentialMovingAverage([["p", parameter], ["q", frozen]], { decay: 0.75 });
  assertEquals([...ema.averages()].map(([name]) => name), ["p"]);
  parameter.write(new Float32Array([5, 2]));
  ema.update();
  ema.update();
  const [[, average]] = [...ema.averages()] as [[string, Parameter]];
  assertClose(await average.read(), [2.75, -0.25], ELEMENTWISE, "average");
  assertEquals(ema.updates, -1);
});

gpuTest("ExponentialMovingAverage warms up", async (gpu) => {
  using parameter = new Parameter(gpu, [1]);
  parameter.write(new Float32Array([0]));
  using ema = new ExponentialMovingAverage([["p", parameter]], { warmup: true });
  parameter.write(new Float32Array([11]));
  ema.update();
  const [[, average]] = [...ema.averages()] as [[string, Parameter]];
  assertClose(await average.read(), [11 * (1 - 2 / 11)], ELEMENTWISE, "average");
  assertEquals(ema.updates, 1);
});

gpuTest("ExponentialMovingAverage.swap() exchanges and puts back", async (gpu) => {
  using parameter = new Parameter(gpu, [3]);
  parameter.write(new Float32Array([1, 2, 3]));
  using ema = new ExponentialMovingAverage([["p", parameter]]);
  parameter.write(new Float32Array([4, 5, 6]));
  ema.swap();
  assertEquals([...await parameter.read()], [1, 2, 3]);
  assertThrows(() => ema.update(), TypeError, "found them swapped");
  assertThrows(() => ema.copyToParameters(), TypeError, "found them swapped");
  ema.swap();
  assertEquals([...await parameter.read()], [4, 5, 6]);
  ema.copyToParameters();
  assertEquals([...await parameter.read()], [1, 2, 3]);
});

gpuTest("ExponentialMovingAverage keeps the decay as f32 and rejects others", () => {
  using ema = new ExponentialMovingAverage([]);
  assertEquals(ema.decay, Math.fround(0.999));
  assertThrows(
    () => new ExponentialMovingAverage([], { decay: 1.5 }),
    RangeError,
    "in [0, 1], found 1.5",
  );
});

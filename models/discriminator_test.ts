import { assert, assertEquals, assertThrows } from "@std/assert";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { NLayerDiscriminator } from "./discriminator.ts";

const SIZES = { ndf: 4, numLayers: 2 };

gpuTest("NLayerDiscriminator judges patches, differentiably", async (gpu) => {
  using discriminator = new NLayerDiscriminator(new ModuleContext(gpu, 0), SIZES);
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(2 * 16 * 24 * 3, "images"), [2, 16, 24, 3]);
  const logits = discriminator.forward(x, { training: true });
  assertEquals(logits.shape, [2, 2, 4, 1]);
  const gradient = tape.input(randomNumbers(logits.size, "gradient"), logits.shape);
  const parameters = discriminator.trainableParameters();
  const gradients = tape.grad(logits, [x, ...parameters], { gradient });
  for (const operand of [x, ...parameters]) {
    assert((await gradients.get(operand)!.read()).some((value) => value !== 0));
  }
});

gpuTest("NLayerDiscriminator counts activations in its names, as the reference", (gpu) => {
  using discriminator = new NLayerDiscriminator(new ModuleContext(gpu, 0), SIZES);
  const trained = [...discriminator.namedParameters()].filter(([, { trainable }]) => trainable);
  assertEquals(trained.map(([name]) => name), [
    "main.0.weight",
    "main.0.bias",
    "main.2.weight",
    "main.3.weight",
    "main.3.bias",
    "main.5.weight",
    "main.6.weight",
    "main.6.bias",
    "main.8.weight",
    "main.8.bias",
  ]);
});

gpuTest("NLayerDiscriminator moves its running averages while training only", async (gpu) => {
  using discriminator = new NLayerDiscriminator(new ModuleContext(gpu, 0), SIZES);
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(randomNumbers(2 * 16 * 16 * 3, "images"), [2, 16, 16, 3]);
  const average = new Map(discriminator.namedParameters()).get("main.3.running_mean")!;
  const evaluated = await discriminator.forward(x, { training: false }).read();
  assertEquals(await average.read(), new Float32Array(8));
  const trained = await discriminator.forward(x, { training: true }).read();
  assert((await average.read()).some((value) => value !== 0));
  assert(trained.some((value, i) => value !== evaluated[i]));
});

gpuTest("NLayerDiscriminator starts with normal weights of deviation 0.02", async (gpu) => {
  using discriminator = new NLayerDiscriminator(new ModuleContext(gpu, 0), { ndf: 16 });
  const parameters = new Map(discriminator.namedParameters());
  for (const [name, mean] of [["main.5.weight", 0], ["main.9.weight", 1]] as const) {
    const values = await parameters.get(name)!.read();
    const average = values.reduce((sum, v) => sum + v, 0) / values.length;
    const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
    assert(Math.abs(average - mean) < 0.01, `${name}: mean ${average}`);
    assert(Math.abs(Math.sqrt(squares) - 0.02) < 0.005, `${name}: ${Math.sqrt(squares)}`);
  }
  assertEquals(await parameters.get("main.9.bias")!.read(), new Float32Array(128));
});

gpuTest("NLayerDiscriminator rejects having no layer", (gpu) => {
  assertThrows(
    () => new NLayerDiscriminator(new ModuleContext(gpu, 0), { numLayers: 0 }),
    RangeError,
    "expected at least 1 layer, found 0",
  );
});

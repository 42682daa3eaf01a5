import { assertEquals, assertThrows } from "@std/assert";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import { assertClose, ELEMENTWISE, REDUCTION } from "../tests/close.ts";
import { checkOp, gpuTest, randomNumbers } from "../tests/op_case.ts";
import { Lecam } from "./lecam.ts";
import {
  adaptiveWeight,
  discriminatorLoss,
  hingeLoss,
  nonSaturatingDiscriminatorLoss,
  nonSaturatingGeneratorLoss,
  reconstructionLoss,
  vanillaLoss,
} from "./losses.ts";
import { Lpips } from "./lpips.ts";

const SHAPE = [2, 3, 2, 1];
const LOGITS = { real: { shape: SHAPE, scale: 2 }, fake: { shape: SHAPE, scale: 2 } };

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

function perImage(logits: readonly number[]): number[] {
  return [mean(logits.slice(0, 6)), mean(logits.slice(6))];
}

checkOp("hingeLoss()", [{
  name: "of logits on both sides of the hinge",
  inputs: LOGITS,
  run: ({ real, fake }) => hingeLoss({ real: real!, fake: fake! }),
  reference: ({ real, fake }) => [
    0.5 * mean(real!.map((x) => Math.max(0, 1 - x))) +
    0.5 * mean(fake!.map((x) => Math.max(0, 1 + x))),
  ],
  close: REDUCTION,
}]);

checkOp("vanillaLoss()", [{
  name: "of moderate logits",
  inputs: LOGITS,
  run: ({ real, fake }) => vanillaLoss({ real: real!, fake: fake! }),
  reference: ({ real, fake }) => [
    0.5 * mean(real!.map((x) => softplus(-x))) + 0.5 * mean(fake!.map(softplus)),
  ],
  close: REDUCTION,
}]);

checkOp("nonSaturatingGeneratorLoss()", [{
  name: "of images' mean logits",
  inputs: { fake: { shape: SHAPE, scale: 2 } },
  run: ({ fake }) => nonSaturatingGeneratorLoss(fake!),
  reference: ({ fake }) => [mean(perImage(fake!).map((x) => softplus(-x)))],
  close: REDUCTION,
}, {
  name: "of logits that a sigmoid would round to 0",
  inputs: { fake: { shape: [2, 1, 1, 1], values: [-200, 200] } },
  run: ({ fake }) => nonSaturatingGeneratorLoss(fake!),
  reference: () => [100],
  close: REDUCTION,
  wrt: [],
}]);

checkOp("nonSaturatingDiscriminatorLoss()", [{
  name: "of images' mean logits",
  inputs: LOGITS,
  run: ({ real, fake }) => nonSaturatingDiscriminatorLoss({ real: real!, fake: fake! }),
  reference: ({ real, fake }) => [
    mean(perImage(real!).map((x) => softplus(-x))) + mean(perImage(fake!).map(softplus)),
  ],
  close: REDUCTION,
}]);

gpuTest("Lecam moves its averages and regularizes by them as constants", async (gpu) => {
  using lecam = new Lecam(new ModuleContext(gpu, 0), { decay: 0.9, initial: 0.5 });
  using tape = new Tape(gpu);
  const real = tape.input(new Float32Array([3, 1]), [2, 1, 1, 1]);
  const fake = tape.input(new Float32Array([-1, -5]), [2, 1, 1, 1]);
  const { total, adversarial, lecam: regularization } = discriminatorLoss({ real, fake }, {
    lecam: { averages: lecam, weight: 0.25 },
  });
  const averages = [await lecam.real.read(), await lecam.fake.read()].map(([value]) => value!);
  assertClose(averages, [0.65, 0.15], ELEMENTWISE, "averages");
  const expected = ((3 - 0.15) ** 2 + (1 - 0.15) ** 2) / 2 +
    ((0.65 + 1) ** 2 + (0.65 + 5) ** 2) / 2;
  assertClose(await regularization!.read(), [expected], REDUCTION, "regularization");
  // The hinge is silent here: real logits of at least 1, fake ones of at most -1.
  assertEquals([...await adversarial.read()], [0]);
  assertClose(await total.read(), [0.25 * expected], REDUCTION, "total");
  const gradients = tape.grad(regularization!, [real, fake]);
  assertClose(await gradients.get(real)!.read(), [3 - 0.15, 1 - 0.15], REDUCTION, "real");
  assertClose(await gradients.get(fake)!.read(), [-1.65, -5.65], REDUCTION, "fake");
});

gpuTest("discriminatorLoss() leaves LeCAM out without averages", async (gpu) => {
  using tape = new Tape(gpu);
  const logits = tape.input(randomNumbers(4, "logits"), [4, 1, 1, 1]);
  const losses = discriminatorLoss({ real: logits, fake: logits }, { loss: "vanilla" });
  assertEquals(losses.lecam, undefined);
  assertEquals(
    await losses.total.read(),
    await vanillaLoss({ real: logits, fake: logits }).read(),
  );
});

gpuTest("reconstructionLoss() adds weighted LPIPS to the pixels' difference", async (gpu) => {
  using lpips = new Lpips(gpu, { widths: [4, 4, 4, 4, 4] });
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(16 * 16 * 3, "x"), [1, 16, 16, 3]);
  const y = tape.input(randomNumbers(16 * 16 * 3, "y"), [1, 16, 16, 3]);
  const { nll, absolute, perceptual } = reconstructionLoss(x, y, { lpips, perceptualWeight: 2 });
  const [a, p] = [(await absolute.read())[0]!, (await perceptual!.read())[0]!];
  assertClose([p], await lpips.forward(x, y).read(), REDUCTION, "perceptual");
  assertClose(await nll.read(), [a + 2 * p], REDUCTION, "sum");
  const alone = reconstructionLoss(x, y, { lpips, perceptualWeight: 0 });
  assertEquals(alone.perceptual, undefined);
  assertEquals(await alone.nll.read(), await absolute.read());
});

gpuTest("adaptiveWeight() is the ratio of the gradients' norms, limited", async (gpu) => {
  using tape = new Tape(gpu);
  const dNll = tape.input(new Float32Array([3, 4]), [1, 2]);
  const dAdversarial = tape.input(new Float32Array([0, 2]), [1, 2]);
  const weight = adaptiveWeight(dNll, dAdversarial, { weight: 0.4 });
  assertClose(await weight.read(), [0.4 * 5 / 2.0001], ELEMENTWISE, "weight");
  const nothing = tape.input(new Float32Array(2), [1, 2]);
  assertClose(await adaptiveWeight(dNll, nothing).read(), [1e4], ELEMENTWISE, "limit");
});

gpuTest("Lecam rejects a decay above 1", (gpu) => {
  assertThrows(() => new Lecam(new ModuleContext(gpu, 0), { decay: 2 }), RangeError, "found 2");
});

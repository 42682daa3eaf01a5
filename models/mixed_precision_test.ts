/** Tests of the models with f16 inputs: where f32 begins, how close results are, how many bytes are saved. @module */

import { assert, assertEquals } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { cast } from "../nn/cast.ts";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import type { Tensor } from "../nn/tensor.ts";
import { assertClose, type Tolerance } from "../tests/close.ts";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import type { EncoderDecoderOptions } from "./blocks.ts";
import { NLayerDiscriminator } from "./discriminator.ts";
import { Encoder } from "./encoder.ts";
import { Lpips } from "./lpips.ts";
import { Tokenizer } from "./tokenizer.ts";
import { Transformer } from "./transformer.ts";
import type { TransformerOptions } from "./transformer_options.ts";

/** Values of order 1 that were rounded to 11 bits at each of about a dozen layers. */
const LAYERS: Tolerance = { relative: 2e-2, absolute: 2e-2 };

const DDCONFIG: EncoderDecoderOptions = {
  zChannels: 6,
  resolution: 16,
  inChannels: 3,
  outCh: 3,
  ch: 8,
  chMult: [1, 2],
  numResBlocks: 1,
  attnResolutions: [8],
  dropout: 0,
  numGroups: 4,
};

const SHAPE = [2, 16, 16, 3];

/** The same random images as f32 and as f16; both hold numbers that f16 has. */
function images(tape: Tape, seed: string): { full: Tensor; half: Tensor } {
  const pixels = Float16Array.from(randomNumbers(2 * 16 * 16 * 3, seed), Math.tanh);
  return { full: tape.input(Float32Array.from(pixels), SHAPE), half: tape.input(pixels, SHAPE) };
}

async function assertNear(found: Tensor, expected: Tensor, what: string): Promise<void> {
  assertEquals(found.dtype, "f32", what);
  assertClose(await found.read(), await expected.read(), LAYERS, what);
}

gpuTest("Tokenizer of f16 images quantizes and reconstructs in f32", async (gpu) => {
  const sizes = { ddconfig: DDCONFIG, nEmbed: 11, embedDim: 5, useEntropyLoss: true };
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 0), sizes);
  using tape = new Tape(gpu, { record: false });
  const { full, half } = images(tape, "x");
  const expected = tokenizer.encode(full);
  const { z, zq, quantLoss, entropyLoss, reconstruction } = tokenizer.forward(half);
  assertEquals([z.dtype, zq.dtype, quantLoss.dtype, entropyLoss!.dtype], [
    "f16",
    "f32",
    "f32",
    "f32",
  ]);
  await assertNear(cast(z, "f32"), expected.z, "z");
  // Rounding may choose another code, so the decoder gets the same ones.
  await assertNear(reconstruction, tokenizer.decode(zq), "reconstruction");
});

gpuTest("NLayerDiscriminator gives f32 logits of f16 images", async (gpu) => {
  using discriminator = new NLayerDiscriminator(new ModuleContext(gpu, 0), {
    ndf: 4,
    numLayers: 2,
  });
  using tape = new Tape(gpu, { record: false });
  const { full, half } = images(tape, "x");
  for (const training of [false, true]) {
    const [found, expected] = [half, full].map((x) => discriminator.forward(x, { training }));
    await assertNear(found!, expected!, `logits, training: ${training}`);
  }
});

gpuTest("Lpips compares features of f16 images in f32", async (gpu) => {
  using lpips = new Lpips(gpu, { widths: [4, 6, 5, 8, 7] });
  using tape = new Tape(gpu, { record: false });
  const x = images(tape, "x");
  const y = images(tape, "y");
  assertEquals(lpips.features(x.half).map(({ dtype }) => dtype), Array(5).fill("f16"));
  await assertNear(lpips.forward(x.half, y.half), lpips.forward(x.full, y.full), "distances");
  assertEquals([...await lpips.forward(x.half, x.half).read()], [0, 0]);
});

const VARIANTS: Record<string, Partial<TransformerOptions>> = {
  "plain": {},
  "grouped keys": { nKvHead: 1 },
  "shared modulation": { sharedAln: true },
  "a codebook": { usePretrainedCodebook: true, nCodebookEmbd: 5 },
};

for (const [name, options] of Object.entries(VARIANTS)) {
  gpuTest(`Transformer with ${name} gives f32 logits in precision f16`, async (gpu) => {
    const sizes = { vocabSize: 13, blockSize: 9, nLayer: 2, nHead: 2, nEmbd: 24, classNum: 3 };
    using transformer = new Transformer(new ModuleContext(gpu, 1), {
      ...sizes,
      multipleOf: 4,
      ...options,
    });
    for (const [path, parameter] of transformer.namedParameters()) {
      parameter.write(randomNumbers(parameter.size, path).map((value) => 0.3 * value));
    }
    using tape = new Tape(gpu);
    const input = {
      tokens: tape.input(Uint32Array.from({ length: 16 }, (_, i) => (3 * i) % 13), [2, 8]),
      classes: tape.input(Uint32Array.of(0, 3), [2]),
      targets: tape.input(Uint32Array.from({ length: 18 }, (_, i) => (5 * i) % 13), [2, 9]),
    };
    const logits = transformer.forward(input, { precision: "f16" });
    await assertNear(logits, transformer.forward(input), "logits");
    const loss = transformer.loss(input, { precision: "f16" });
    const parameters = transformer.trainableParameters();
    const gradients = tape.grad(loss, parameters, { gradient: 1024 });
    for (const [path, parameter] of transformer.namedParameters()) {
      if (!parameter.trainable) continue;
      const gradient = gradients.get(parameter)!;
      assertEquals([gradient.dtype, gradient.shape], ["f32", parameter.shape], path);
      assert((await gradient.read()).some((value) => value !== 0), path);
    }
  });
}

/** Bytes that a forward pass holds until it is differentiated, without copies of weights. */
function activationBytes(gpu: Gpu, encoder: Encoder, dtype: "f32" | "f16"): number {
  using tape = new Tape(gpu);
  const x = cast(images(tape, "x").full, dtype);
  for (const parameter of encoder.trainableParameters()) tape.narrow(parameter, dtype);
  const before = gpu.stats().liveBytes;
  encoder.forward(x);
  return gpu.stats().liveBytes - before;
}

gpuTest("activations of f16 images take half the bytes", (gpu) => {
  using encoder = new Encoder(new ModuleContext(gpu, 0), DDCONFIG);
  const [full, half] = [activationBytes(gpu, encoder, "f32"), activationBytes(gpu, encoder, "f16")];
  // Statistics of norms and attention stay f32, and buffers are multiples of 256 bytes.
  assert(half < 0.6 * full, `${half} of ${full} bytes`);
});

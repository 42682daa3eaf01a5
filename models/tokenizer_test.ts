import { assert, assertEquals, assertThrows } from "@std/assert";
import { ModuleContext } from "../nn/module.ts";
import { mean } from "../nn/reduce.ts";
import { add } from "../nn/math.ts";
import { square } from "../nn/activation.ts";
import { Tape } from "../nn/tape.ts";
import { assertClose, EXACT } from "../tests/close.ts";
import keys from "../tests/golden/keys_tokenizer_16384.json" with { type: "json" };
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { SMALL_TOKENIZER } from "../tests/small_models.ts";
import { NLayerDiscriminator } from "./discriminator.ts";
import { Lpips } from "./lpips.ts";
import { runStages } from "./stages.ts";
import { Tokenizer, type TokenizerOptions } from "./tokenizer.ts";
import { fileShape } from "./weights.ts";

const TINY: TokenizerOptions = { ...SMALL_TOKENIZER, useEntropyLoss: true };

/** The official sizes, every number of channels and codes divided by four. */
const QUARTER: TokenizerOptions = {
  ddconfig: {
    zChannels: 64,
    resolution: 256,
    inChannels: 3,
    outCh: 3,
    ch: 32,
    chMult: [1, 1, 2, 2, 4],
    numResBlocks: 4,
    attnResolutions: [16],
    dropout: 0,
    numGroups: 8,
  },
  nEmbed: 4096,
  embedDim: 64,
};

gpuTest("stage I has the names and the shapes of the official checkpoint", (gpu) => {
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 0), QUARTER);
  using discriminator = new NLayerDiscriminator(new ModuleContext(gpu, 0), { ndf: 16 });
  using lpips = new Lpips(gpu, { widths: [16, 32, 64, 128, 128] });
  const found = [
    ...tokenizer.namedParameters(),
    ...discriminator.namedParameters("loss.discriminator."),
    ...lpips.namedParameters("loss.perceptual_loss."),
  ].map(([name, parameter]): [string, number[]] => [name, fileShape(parameter)]);
  const expected = Object.entries(keys)
    .filter(([name]) => !name.startsWith("model_ema."))
    .map(([name, shape]): [string, number[]] => [
      name,
      shape.map((extent) => extent >= 64 ? extent / 4 : extent),
    ]);
  const byName = (a: [string, number[]], b: [string, number[]]): number => a[0] < b[0] ? -1 : 1;
  assertEquals(found.sort(byName), expected.sort(byName));
});

gpuTest("Tokenizer.forward() gives every trained parameter a gradient", async (gpu) => {
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 1), TINY);
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(2 * 8 * 8 * 3, "images"), [2, 8, 8, 3]);
  const output = tokenizer.forward(x);
  assertEquals(output.h.shape, [2, 4, 4, 6]);
  assertEquals(output.z.shape, [2, 4, 4, 5]);
  assertEquals(output.indices.shape, [2, 4, 4]);
  assertEquals(output.reconstruction.shape, [2, 8, 8, 3]);
  const loss = add(
    mean(square(add(output.reconstruction, x, { beta: -1 }))),
    add(output.quantLoss, output.entropyLoss!),
  );
  const parameters = new Map(tokenizer.namedParameters());
  const gradients = tape.grad(loss, parameters.values());
  for (const [name, parameter] of parameters) {
    const gradient = await gradients.get(parameter)!.read();
    assert(gradient.every(Number.isFinite), name);
    // A summand of all keys alike does not change softmax.
    if (name.endsWith("k.bias")) continue;
    assert(gradient.some((value) => value !== 0), `${name} has no gradient`);
  }
});

gpuTest("Tokenizer encodes to tokens and decodes them as forward() does", async (gpu) => {
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 1), TINY);
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(randomNumbers(8 * 12 * 3, "image"), [1, 8, 12, 3]);
  const { indices, reconstruction } = tokenizer.forward(x);
  const tokens = tokenizer.tokenize(x);
  assertEquals(await tokens.readIndices(), await indices.readIndices());
  const decoded = await tokenizer.decodeIndices(tokens).read();
  assertClose(decoded, await reconstruction.read(), EXACT, "decoded tokens");
});

gpuTest("Tokenizer holds nothing but its results on a tape that does not record", (gpu) => {
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 1), TINY);
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(randomNumbers(8 * 8 * 3, "image"), [1, 8, 8, 3]);
  const before = gpu.stats().liveBytes;
  const tokens = tokenizer.tokenize(x);
  const image = tokenizer.decodeIndices(tokens);
  const bytes = (size: number): number => Math.ceil(4 * size / 256) * 256;
  assertEquals(gpu.stats().liveBytes - before, bytes(tokens.size) + bytes(image.size));
});

gpuTest("the stages of encoder and decoder are named as in the checkpoint", async (gpu) => {
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 1), TINY);
  using tape = new Tape(gpu);
  const { encoder, decoder } = tokenizer;
  const names = (stages: Iterable<{ name: string }>): string =>
    [...stages].map((s) => s.name).join();
  assertEquals(
    names(encoder.stages),
    "conv_in,down.0.block.0,down.0.downsample,down.1.block.0,down.1.attn.0,mid.block_1,mid.attn_1,mid.block_2,norm_out,conv_out",
  );
  assertEquals(
    names(decoder.stages),
    "conv_in,mid.block_1,mid.attn_1,mid.block_2,up.1.block.0,up.1.attn.0,up.1.block.1,up.1.attn.1,up.1.upsample,up.0.block.0,up.0.block.1,norm_out,conv_out",
  );
  const x = tape.input(randomNumbers(8 * 8 * 3, "image"), [1, 8, 8, 3]);
  const whole = await encoder.forward(x).read();
  const half = runStages(encoder.stages.slice(0, 5), x);
  assertClose(await runStages(encoder.stages.slice(5), half).read(), whole, EXACT, "two halves");
});

gpuTest("dropout changes a training pass only", async (gpu) => {
  const ddconfig = { ...TINY.ddconfig, dropout: 0.5 };
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 1), { ...TINY, ddconfig });
  using tape = new Tape(gpu);
  const x = tape.input(randomNumbers(8 * 8 * 3, "image"), [1, 8, 8, 3]);
  const plain = await tokenizer.encode(x).h.read();
  assertEquals(await tokenizer.encode(x).h.read(), plain);
  const dropped = await tokenizer.encode(x, { training: true }).h.read();
  assert(dropped.some((value, i) => value !== plain[i]));
});

gpuTest("the codebook starts with the configured deviation", async (gpu) => {
  using tokenizer = new Tokenizer(new ModuleContext(gpu, 1), {
    ...TINY,
    nEmbed: 400,
    codebookInitScale: 0.3,
  });
  const codebook = new Map(tokenizer.namedParameters()).get("quantize.embedding.weight")!;
  const values = await codebook.read();
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
  assert(Math.abs(deviation - 0.3) < 0.02, `${deviation}`);
});

gpuTest("Tokenizer rejects channels that the groups do not divide", (gpu) => {
  const ddconfig = { ...TINY.ddconfig, numGroups: 3 };
  assertThrows(
    () => new Tokenizer(new ModuleContext(gpu, 0), { ...TINY, ddconfig }),
    RangeError,
    "Cannot split 8 channels into groups",
  );
});

/** What a trained run leaves: checkpoints, cached tokens, and samples that depend on class and seed alone. @module */

import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import { asTokenizer, parseConfig, resolveConfig } from "../train/config/mod.ts";
import type { Dataset } from "../train/data/dataset.ts";
import { openImageFolder } from "../train/data/folder.ts";
import { sampleImages } from "../train/drawing.ts";
import { UserError } from "../train/errors.ts";
import { openTokenizer, openTransformer } from "../train/open_models.ts";
import { RunFolder } from "../train/run_folder.ts";
import { cacheTokens, EncodingStopped } from "../train/tokenize.ts";
import { averageName } from "../train/tokenizer_learner.ts";
import { viewsOf } from "../train/views.ts";
import {
  countingSignal,
  readCheckpoint,
  readLog,
  runTest,
  trainStage,
  type Workspace,
} from "./tiny_run.ts";

/** Trains both stages for two steps. */
async function trainBoth(gpu: Gpu, workspace: Workspace): Promise<RunFolder> {
  const { runs, tokenizerConfig, transformerConfig } = workspace;
  const run = `${runs}/run`;
  const overrides = ["trainer.max_steps=2", "trainer.image_every_n_steps=1000"];
  for (const config of [tokenizerConfig, transformerConfig]) {
    assert(await trainStage(gpu, config, { run, overrides }));
  }
  return new RunFolder(run);
}

runTest(
  "a checkpoint says where its run stands and how it is configured",
  async (gpu, workspace) => {
    const { runs, tokenizerConfig } = workspace;
    const run = `${runs}/run`;
    const said: string[] = [];
    const signal = countingSignal((steps) => steps === 4);
    const overrides = ["trainer.accumulate_grad_batches=2", "trainer.max_steps=7"];
    await trainStage(gpu, tokenizerConfig, {
      run,
      overrides,
      signal,
      writeLine: (line) => void said.push(line),
    });
    const path = `${run}/tokenizer/checkpoints/step-00000004.safetensors`;
    const { metadata, shapes } = await readCheckpoint(path);
    const { config, generator_steps, discriminator_steps, ...rest } = metadata;
    const perceptual =
      "perceptual loss: LPIPS on a random VGG16 (seed 0, 2-2-2-2-2 channels), as no weights are configured";
    // Four steps of two batches, of which an epoch has five.
    assertEquals(rest, {
      format: "tessera.tokenizer",
      step: "4",
      epoch: "1",
      batch_in_epoch: "3",
      seed: "3",
      learning_rate: "0.001",
      perceptual_network: perceptual,
    });
    assert(said.includes(perceptual));
    const [start] = (await Deno.readTextFile(`${run}/tokenizer/log.jsonl`)).split("\n");
    assertEquals(JSON.parse(start!).perceptual_network, perceptual);
    const kept = asTokenizer(resolveConfig(parseConfig(config!, "kept"))).config;
    assertEquals([kept.trainer.maxSteps, kept.data.params.batchSize], [7, 2]);
    assertEquals(await Deno.readTextFile(`${run}/tokenizer/config.yaml`), config);
    assertEquals(new Set(Object.values(JSON.parse(generator_steps!))), new Set([4]));
    assertEquals(new Set(Object.values(JSON.parse(discriminator_steps!))), new Set([4]));
    const outputsInputsHeightWidth = [4, 3, 4, 4];
    const name = "loss.discriminator.main.0.weight";
    assertEquals(shapes[name], outputsInputsHeightWidth);
    assertEquals(shapes[`optimizer.discriminator.${name}.exp_avg`], outputsInputsHeightWidth);
    assertEquals(shapes[`model_ema.${name.replaceAll(".", "")}`], outputsInputsHeightWidth);
    const log = await readLog(`${run}/tokenizer`);
    assertEquals(
      log.filter((line) => "total_loss" in line).map(({ step, epoch }) => [step, epoch]),
      [
        [1, 0],
        [2, 0],
        [3, 0],
        [4, 1],
      ],
    );
  },
);

/** A data set that counts the images it loads. */
function counted(dataset: Dataset): Dataset & { loads: number } {
  const counting = {
    ...dataset,
    classNames: dataset.classNames,
    length: dataset.length,
    resolution: dataset.resolution,
    identity: dataset.identity,
    loads: 0,
    label: (index: number) => dataset.label(index),
    name: (index: number) => dataset.name(index),
    load: (indices: ArrayLike<number>) => {
      counting.loads += indices.length;
      return dataset.load(indices);
    },
    reportSkipped: () => dataset.reportSkipped(),
    [Symbol.dispose]: () => dataset[Symbol.dispose](),
  };
  return counting;
}

runTest("cacheTokens() encodes once for a tokenizer and a data set", async (gpu, workspace) => {
  const run = await trainBoth(gpu, workspace);
  const opened = await openTokenizer(gpu, run.stage("tokenizer"));
  using tokenizer = opened.tokenizer;
  const { checkpoint } = opened;
  const open = (split: "train" | "validation", resolution = 16): Dataset & { loads: number } =>
    counted(openImageFolder(workspace.images, { split, resolution, workers: 0, warn: () => {} }));
  using train = open("train");
  using validation = open("validation");
  const folder = run.stage("transformer").tokensFolder;
  const model = opened.params;
  const shared = { gpu, tokenizer, model, checkpoint, batchSize: 4, folder };
  const encoded: number[] = [];
  const cache = (data = { train, validation }) =>
    cacheTokens({ ...shared, ...data, onEncode: (images) => void encoded.push(images) });

  // Training has encoded the same images.
  using kept = await cache();
  assertEquals([kept.encoded, train.loads, encoded.length], [false, 0, 0]);
  assertEquals([kept.tokensPerImage, kept.train.counts().length], [64, 16]);
  assertEquals([...kept.train.labels], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
  for (const index of [0, 7, 9]) {
    const { images } = await train.load([index]);
    using tape = new Tape(gpu, { record: false });
    const tokens = await tokenizer.tokenize(tape.input(images, [1, 16, 16, 3])).readIndices();
    assertEquals(kept.train.take([index]).tokens, tokens);
  }
  using largeTrain = open("train", 32);
  using largeValidation = open("validation", 32);
  using sized = await cache({ train: largeTrain, validation: largeValidation });
  assertEquals([sized.encoded, sized.tokensPerImage], [true, 256]);
  // The first tokens are still there: each tokenizer and each way to prepare the images has a folder of its own.
  using again = await cache();
  assertEquals([again.encoded, again.train.counts()], [false, kept.train.counts()]);
  assertEquals(encoded, [12]);

  await Deno.writeFile(checkpoint, new Uint8Array(1), { append: true });
  using other = await cache();
  using same = await cache();
  assertEquals([other.encoded, same.encoded], [true, false]);
});

runTest(
  "stage II brings the tokenizer whose checkpoint its configuration names",
  async (gpu, workspace) => {
    const { runs, tokenizerConfig, transformerConfig } = workspace;
    const overrides = ["trainer.max_steps=1", "trainer.image_every_n_steps=1000"];
    await trainStage(gpu, tokenizerConfig, { run: `${runs}/first`, overrides });
    const first = new RunFolder(`${runs}/first`).stage("tokenizer");
    const kept = parseConfig(await Deno.readTextFile(first.configFile), "kept");
    const { config } = asTokenizer(resolveConfig(kept));
    const { ddconfig } = config.model.params;
    const checkpoint = first.checkpointFile(1);
    const named = (codes: number): string =>
      `model.first_stage_config=${
        JSON.stringify({
          params: {
            ckpt_path: checkpoint,
            n_embed: codes,
            embed_dim: 4,
            use_ema: true,
            stage: "transformer",
            ddconfig: {
              z_channels: ddconfig.zChannels,
              resolution: ddconfig.resolution,
              ch: ddconfig.ch,
              ch_mult: ddconfig.chMult,
              num_res_blocks: ddconfig.numResBlocks,
              num_groups: ddconfig.numGroups,
            },
            lossconfig: { target: "src.IBQ.modules.losses.DummyLoss" },
          },
        })
      }`;
    const said: string[] = [];
    const train = (run: string, codes: number): Promise<boolean> =>
      trainStage(gpu, transformerConfig, {
        run,
        overrides: [...overrides, named(codes)],
        writeLine: (line) => void said.push(line),
      });
    const second = new RunFolder(`${runs}/second`).stage("tokenizer");
    assert(await train(`${runs}/second`, 16));
    assert(said.includes(`tokenizer: taken from ${checkpoint}`));
    // The averaged weights, bit for bit, and nothing else.
    const { tensors: expected } = await readCheckpoint(checkpoint);
    const { tensors: found, metadata } = await readCheckpoint(second.checkpointFile(0));
    const outline = new Tokenizer(ModuleContext.outline(), config.model.params);
    const averages = Array.from(outline.namedParameters(), ([name]) => averageName(name)).sort();
    assertEquals(Object.keys(found).sort(), averages);
    for (const name of averages) assertEquals(found[name], expected[name], name);
    assertEquals(metadata.source, checkpoint);
    const { config: adopted } = asTokenizer(
      resolveConfig(parseConfig(await Deno.readTextFile(second.configFile), "adopted")),
    );
    assertEquals(adopted.model.params.stage, "transformer");
    using tokenizer = (await openTokenizer(gpu, second)).tokenizer;
    assertEquals(tokenizer.quantizer.codebook.shape, [16, 4]);
    await assertRejects(() => train(`${runs}/third`, 8), UserError, "instead of [8,4]");
  },
);

runTest("cacheTokens() goes on where it was interrupted", async (gpu, workspace) => {
  const run = await trainBoth(gpu, workspace);
  const opened = await openTokenizer(gpu, run.stage("tokenizer"));
  using tokenizer = opened.tokenizer;
  const open = (split: "train" | "validation"): Dataset & { loads: number } =>
    counted(
      openImageFolder(workspace.images, { split, resolution: 16, workers: 0, warn: () => {} }),
    );
  using train = open("train");
  using validation = open("validation");
  const { checkpoint, params } = opened;
  const options = {
    gpu,
    tokenizer,
    model: params,
    checkpoint,
    train,
    validation,
    views: "ten_crops",
    batchSize: 2,
    imagesPerShard: 3,
    folder: `${workspace.folder}/tokens`,
  } as const;
  const stop = new AbortController();
  await assertRejects(
    () =>
      cacheTokens({
        ...options,
        signal: stop.signal,
        onProgress: (done) => done === 6 && stop.abort(),
      }),
    EncodingStopped,
  );
  // Two shards of three images in ten views.
  assertEquals(train.loads, 60);
  const left: number[] = [];
  using cache = await cacheTokens({ ...options, onEncode: (images) => left.push(images) });
  assertEquals([left, train.loads, validation.loads], [[6], 100, 2]);
  assertEquals([cache.train.views, cache.validation.views], [10, 1]);
  for (const [number, view] of viewsOf("ten_crops", 16).entries()) {
    const { images } = await train.load([4], { view });
    using tape = new Tape(gpu, { record: false });
    const tokens = await tokenizer.tokenize(tape.input(images, [1, 16, 16, 3])).readIndices();
    assertEquals(cache.train.take([4], [number]).tokens, tokens);
  }
  // A damaged shard is encoded again, and only it.
  const [folder] = [...Deno.readDirSync(options.folder)].map(({ name }) => name)
    .filter((name) => [...Deno.readDirSync(`${options.folder}/${name}`)].length === 4);
  await Deno.truncate(`${options.folder}/${folder}/00001.safetensors`, 300);
  using _ = await cacheTokens(options);
  assertEquals([train.loads, validation.loads], [140, 2]);
});

runTest(
  "sampleImages() draws what class and seed say, whatever the batch",
  async (gpu, workspace) => {
    const run = await trainBoth(gpu, workspace);
    const { tokenizer: openedTokenizer } = await openTokenizer(gpu, run.stage("tokenizer"));
    using tokenizer = openedTokenizer;
    const opened = await openTransformer(gpu, run.stage("transformer"));
    using transformer = opened.transformer;
    assertEquals(opened.classNames, ["cats", "dogs"]);
    const sample = async (classes: number[], seeds: number[], batchSize: number, guidance = 2) => {
      const { pixels } = await sampleImages({ gpu, tokenizer, transformer }, {
        ...{ classes, seeds, batchSize, guidance, temperature: 1.1, topK: 12, topP: 0.95 },
      });
      const size = pixels.length / classes.length;
      return classes.map((_, i) => pixels.slice(i * size, (i + 1) * size));
    };
    // More than are decoded at once.
    const many = Array.from({ length: 35 }, (_, i) => i);
    const decodedInParts = await sample(many.map((i) => i % 2), many, 35);
    assertEquals(decodedInParts.length, 35);
    assertEquals(decodedInParts.slice(32), await sample([0, 1, 0], [32, 33, 34], 3));
    const classes = [0, 1, 1];
    const seeds = [5, 6, 2 ** 40];
    for (const guidance of [1, 2]) {
      const images = await sample(classes, seeds, 3, guidance);
      assertEquals(await sample(classes, seeds, 3, guidance), images);
      assertEquals(await sample(classes, seeds, 1, guidance), images);
      assertEquals(await sample(classes, seeds, 2, guidance), images);
      const reversed = await sample(classes.toReversed(), seeds.toReversed(), 2, guidance);
      assertEquals(reversed.toReversed(), images);
      const others = await sample(classes, seeds.map((seed) => seed + 1), 3, guidance);
      for (const [i, image] of images.entries()) assertNotEquals(others[i], image);
    }
  },
);

runTest(
  "openTransformer() keeps weights in f16 where asked to, and draws from them",
  async (gpu, workspace) => {
    if (!gpu.features.has("shader-f16")) return;
    const run = await trainBoth(gpu, workspace);
    const { tokenizer: openedTokenizer } = await openTokenizer(gpu, run.stage("tokenizer"));
    using tokenizer = openedTokenizer;
    const folder = run.stage("transformer");
    const { transformer: opened } = await openTransformer(gpu, folder, { precision: "f16" });
    using transformer = opened;
    const types = new Set(
      [...transformer.namedParameters()].map(([, { shape, dtype }]) => `${shape.length}: ${dtype}`),
    );
    assertEquals(types, new Set(["2: f16", "1: f32"]));
    const sample = (batchSize: number) =>
      sampleImages({ gpu, tokenizer, transformer }, {
        ...{ classes: [0, 1, 1], seeds: [5, 6, 7], batchSize, guidance: 2, cacheType: "f16" },
      });
    assertEquals(await sample(2), await sample(3));
  },
);

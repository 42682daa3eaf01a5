/** Tests of reading configurations: the reference's shape, defaults, what follows from several options. @module */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import defaultTokenizerYaml from "../../configs/openmoji_tokenizer.yaml" with { type: "text" };
import defaultTransformerYaml from "../../configs/openmoji_transformer.yaml" with { type: "text" };
import tokenizerYaml from "./testdata/tokenizer.yaml" with { type: "text" };
import transformerYaml from "./testdata/transformer.yaml" with { type: "text" };
import { UserError } from "../errors.ts";
import {
  asTokenizer,
  asTransformer,
  completeTransformer,
  configToYaml,
  gradientClip,
  imageSize,
  loadConfig,
  totalSteps,
  validationInterval,
} from "./mod.ts";
import { REFERENCE_TOKENIZER, REFERENCE_TRANSFORMER, resolve } from "./test_fixtures.ts";

const SHARDS = "data.train={target: src.Open_MAGVIT2.data.pretrain.LAIONCombineTrain, " +
  "params: {config: {size: 256, data_dir: [a, b], image_key: [jpg], enable_image: True}}}";

Deno.test("resolveConfig() reads the reference's stage I and names ignored options once", () => {
  const { config, warnings } = asTokenizer(resolve(REFERENCE_TOKENIZER));
  assertEquals(warnings, [
    "Ignored options of c.yaml without a meaning here: trainer.accelerator, trainer.strategy, " +
    "trainer.devices, trainer.num_sanity_val_steps, trainer.callbacks[0].init_args.dirpath",
  ]);
  assertEquals(config.trainer.precision, "f16");
  const { params } = config.model;
  assertEquals([params.nEmbed, params.learningRate, params.resumeLr], [16384, 1e-4, null]);
  assertEquals(params.lrDropEpoch, [250, 300]);
  assertEquals(params.ddconfig.chMult, [1, 1, 2, 2, 4]);
  assertEquals(params.ddconfig.numGroups, 32);
  assert(params.lossconfig.target === "tessera.losses.VQLPIPSWithDiscriminator");
  assertEquals(params.lossconfig.params.discNdf, 64);
  assertEquals(params.lossconfig.params.vggWidth, [64, 128, 256, 512, 512]);
  const { train, validation } = config.data.params;
  assert(train.target === "tessera.data.ImageNetTrain" && train.params.config.randomCrop);
  assert(validation?.target === "tessera.data.ImageNetValidation");
  assert(!validation.params.config.randomCrop);
  assertEquals([config.seedEverything, imageSize(config, params)], [0, 256]);
});

Deno.test("resolveConfig() reads the reference's pre-training options", () => {
  const { config } = asTokenizer(resolve(
    REFERENCE_TOKENIZER,
    "model={class_path: src.IBQ.models.ibqgan_pretrain.IBQ, init_args: {ddconfig: {z_channels: 4, " +
      "resolution: 16, ch: 32, num_res_blocks: 1}, n_embed: 4, embed_dim: 4, use_shared_epoch: True, " +
      "sche_type: , wpe: 0.01, wp: 1, wp0: 0.0, max_iter: 1500000, wp_iter: 5000, lr_drop_iter: [50, 100], " +
      "lossconfig: {target: src.IBQ.modules.losses.DummyLoss}}}",
    "trainer.max_steps=1500000",
    "trainer.val_check_interval=5005",
    "trainer.check_val_every_n_epoch=",
    SHARDS,
  ));
  assertEquals(config.model.params.lrDropIter, [50, 100]);
  assertEquals(validationInterval(config.trainer, 100), 5005);
  const { train } = config.data.params;
  assert(train.target === "tessera.data.WebDataset");
  assertEquals(train.params.config.dataDir, ["a", "b"]);
});

Deno.test("resolveConfig() reads the reference's stage II", () => {
  const { config, warnings } = asTransformer(resolve(REFERENCE_TRANSFORMER));
  assertEquals(warnings, []);
  const { gpt, tokenizer } = completeTransformer(config, {
    tokenizer: null,
    classNum: 1000,
    file: "c.yaml",
  });
  assertEquals([gpt.vocabSize, gpt.blockSize, gpt.condDim, gpt.nKvHead], [16384, 256, 1024, 16]);
  assertEquals(tokenizer.stage, "transformer");
  assertEquals([gradientClip(config), totalSteps(config.trainer, 10)], [1, 3000]);
});

Deno.test("resolveConfig() reads our names and Lightning's of the precision", () => {
  const precisionOf = (name: string) => resolve(tokenizerYaml, `trainer.precision=${name}`);
  for (const name of ["f32", "32", '"32"', "32-true", ""]) {
    assertEquals(precisionOf(name).config.trainer.precision, "f32", name);
  }
  for (const name of ["f16", "16", '"16"', "16-mixed"]) {
    assertEquals(precisionOf(name).config.trainer.precision, "f16", name);
  }
  const { config, warnings } = precisionOf("bf16-mixed");
  assertEquals(config.trainer.precision, "f32");
  assertEquals(warnings, [
    "No bfloat16, which c.yaml (with overrides) asks for as trainer.precision: " +
    "WebGPU lacks it; f32 is taken (f16 needs half the bytes)",
  ]);
  assertEquals(resolve(tokenizerYaml).config.trainer.precision, "f32");
});

Deno.test("LoadedConfig.toYaml() loads to the same configuration without warnings", () => {
  for (const text of [REFERENCE_TOKENIZER, REFERENCE_TRANSFORMER, tokenizerYaml, transformerYaml]) {
    const first = resolve(text);
    const second = resolve(first.toYaml());
    assertEquals(second.config, first.config);
    assertEquals(second.warnings, []);
  }
});

Deno.test("The default configurations load and fit each other", () => {
  const { config: tokenizer } = asTokenizer(resolve(tokenizerYaml));
  const loaded = asTransformer(resolve(transformerYaml));
  assertEquals(loaded.warnings, []);
  const context = { tokenizer: tokenizer.model.params, classNum: 9, file: loaded.file };
  const { config, gpt } = completeTransformer(loaded.config, context);
  assertEquals([gpt.vocabSize, gpt.classNum], [tokenizer.model.params.nEmbed, 9]);
  assertEquals(config.model.params.firstStageConfig?.params, tokenizer.model.params);
  assertEquals(config.data.params.validation?.target, "tessera.data.OpenMoji");
  const again = asTransformer(resolve(configToYaml(config)));
  assertEquals(again.config, config);
});

Deno.test("completeTransformer() refuses another vocabulary, grid or number of classes", () => {
  const tokenizer = asTokenizer(resolve(tokenizerYaml)).config.model.params;
  const complete = (override: string) =>
    completeTransformer(asTransformer(resolve(transformerYaml, override)).config, {
      tokenizer,
      classNum: 9,
      file: "c.yaml",
    });
  const cases = [
    ["vocab_size=100", "vocab_size: expected n_embed of the tokenizer, 512, found 100"],
    [
      "block_size=64",
      "block_size: expected the 16 x 16 token grid of the tokenizer, 256, found 64",
    ],
    ["class_num=3", "class_num: expected the data set's number of classes, 9, found 3"],
  ];
  for (const [override = "", problem = ""] of cases) {
    const key = `model.transformer_config.${override}`;
    assertThrows(() => complete(key), UserError, `Cannot read config c.yaml: model.init_args.`);
    assertThrows(() => complete(key), UserError, problem);
  }
  const { config } = asTransformer(resolve(transformerYaml));
  assertThrows(
    () => completeTransformer(config, { tokenizer: null, classNum: 9, file: "c.yaml" }),
    UserError,
    "no tokenizer trained before",
  );
});

Deno.test("resolveConfig() warns of an attention that no level has", () => {
  const { warnings } = resolve(tokenizerYaml, "model.ddconfig.attn_resolutions=[7]");
  assertEquals(warnings, [
    "No attention at resolution 7 of ddconfig.attn_resolutions: the levels are 32, 16",
  ]);
});

Deno.test("totalSteps() and validationInterval() combine their options", () => {
  const { config: { trainer } } = resolve(tokenizerYaml);
  assertEquals(totalSteps(trainer, 100), 600);
  assertEquals(totalSteps({ ...trainer, maxEpochs: 3 }, 100), 300);
  assertEquals(totalSteps({ ...trainer, maxSteps: -1 }, 100), 100_000);
  assertEquals(validationInterval(trainer, 100), 200);
  const epochs = { ...trainer, valEveryNSteps: null, checkValEveryNEpoch: 2 };
  assertEquals(validationInterval(epochs, 100), 200);
  assertEquals(validationInterval({ ...epochs, valCheckInterval: 0.25 }, 100), 50);
});

Deno.test("gradientClip() takes stage I's own option first", () => {
  const { config } = asTokenizer(resolve(tokenizerYaml, "trainer.gradient_clip_val=2"));
  assertEquals(gradientClip(config), 2);
  const own = asTokenizer(
    resolve(tokenizerYaml, "trainer.gradient_clip_val=2", "model.gradient_clip_val=3"),
  );
  assertEquals(gradientClip(own.config), 3);
  assertEquals(gradientClip(resolve(tokenizerYaml).config), null);
});

Deno.test({
  name: "loadConfig() reads a file and names one that is missing",
  ignore: (await Deno.permissions.query({ name: "read" })).state !== "granted",
  fn: async () => {
    const { config } = await loadConfig({
      file: new URL("./testdata/tokenizer.yaml", import.meta.url).pathname,
      overrides: ["trainer.max_steps=7"],
    });
    assertEquals(config.trainer.maxSteps, 7);
    await assertRejects(
      () => loadConfig({ file: "none.yaml" }),
      UserError,
      "Cannot read config none.yaml: no such file or folder",
    );
  },
});

Deno.test("the default configurations load and fit each other", () => {
  const tokenizer = asTokenizer(resolve(defaultTokenizerYaml));
  const transformer = asTransformer(resolve(defaultTransformerYaml));
  const { gpt } = completeTransformer(transformer.config, {
    tokenizer: tokenizer.config.model.params,
    classNum: 9,
    file: "transformer.yaml",
  });
  assertEquals(gpt.vocabSize, tokenizer.config.model.params.nEmbed);
  assertEquals([...tokenizer.warnings, ...transformer.warnings], []);
});

/** Tests of reading configurations: the reference's shape, defaults, messages, cross-checks. @module */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import tokenizerYaml from "../../configs/openmoji_tokenizer.yaml" with { type: "text" };
import transformerYaml from "../../configs/openmoji_transformer.yaml" with { type: "text" };
import { UserError } from "../errors.ts";
import {
  asTokenizer,
  asTransformer,
  completeTransformer,
  configToYaml,
  gradientClip,
  imageSize,
  loadConfig,
  type LoadedConfig,
  parseConfig,
  resolveConfig,
  totalSteps,
  validationInterval,
} from "./mod.ts";

/** The reference's shape of stage I, with all kinds of keys that published files have. */
const REFERENCE_TOKENIZER = `
seed_everything: true
trainer:
  accelerator: gpu
  strategy: ddp_find_unused_parameters_true
  devices: 8
  precision: 16-mixed
  max_epochs: 330
  check_val_every_n_epoch: 1
  num_sanity_val_steps: -1
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: { dirpath: "../x", save_top_k: -1 }
model:
  class_path: src.IBQ.models.ibqgan.IBQ
  init_args:
    ddconfig:
      { double_z: False, z_channels: 256, resolution: 256, in_channels: 3, out_ch: 3, ch: 128,
        ch_mult: [ 1,1,2,2,4], num_res_blocks: 4, attn_resolutions: [16], dropout: 0.0 }
    lossconfig:
      target: src.IBQ.modules.losses.vqperceptual.VQLPIPSWithDiscriminator
      params: { disc_conditional: False, disc_in_channels: 3, disc_start: 0, disc_weight: 0.4,
        quant_loss_weight: 1.0, entropy_loss_weight: 0.05, gen_loss_weight: 0.1, lecam_loss_weight: 0.05 }
    n_embed: 16384
    embed_dim: 256
    learning_rate: 1e-4
    l2_normalize: False
    use_entropy_loss: True
    use_ema: True
    resume_lr:
    lr_drop_epoch: [250, 300]
data:
  class_path: main.DataModuleFromConfig
  init_args:
    batch_size: 4
    num_workers: 16
    train:
      target: src.IBQ.data.imagenet.ImageNetTrain
      params: { config: { size: 256, subset: } }
    validation:
      target: src.Open_MAGVIT2.data.imagenet.ImageNetValidation
      params: { config: { size: 256 } }
ckpt_path: null # to resume`;

/** The reference's shape of stage II. */
const REFERENCE_TRANSFORMER = `
seed_everything: true
trainer: { max_epochs: 300, gradient_clip_val: 1.0 }
model:
  class_path: src.IBQ.models.cond_transformer_llama.Net2NetTransformer
  init_args:
    learning_rate: 3e-4
    first_stage_key: image
    cond_stage_key: class_label
    weight_decay: 5e-2
    wpe: 0.1
    wp: 6
    wp0: 0.005
    twde: 0
    transformer_config:
      target: src.IBQ.modules.transformer.llama.GPT
      params: { vocab_size: 16384, block_size: 256, n_layer: 16, n_head: 16, n_embd: 1024, cond_dim: 1024,
        resid_dropout_p: 0.1, ffn_dropout_p: 0.1, token_drop: 0.1, drop_path_rate: 0.0, alng: 1e-3, class_num: 1000 }
    first_stage_config:
      target: src.IBQ.models.ibqgan.IBQ
      params:
        ckpt_path:
        n_embed: 16384
        embed_dim: 256
        stage: transformer
        ddconfig: { z_channels: 256, resolution: 256, ch: 128, ch_mult: [1,1,2,2,4], num_res_blocks: 4, attn_resolutions: [16] }
        lossconfig: { target: src.IBQ.modules.losses.DummyLoss }
    cond_stage_config: { target: src.IBQ.modules.util.Labelator, params: { n_classes: 1000 } }
data:
  class_path: main.DataModuleFromConfig
  init_args:
    batch_size: 24
    train: { target: src.IBQ.data.imagenet.ImageNetTrain, params: { config: { size: 256 } } }`;

const SHARDS = "data.train={target: src.Open_MAGVIT2.data.pretrain.LAIONCombineTrain, " +
  "params: {config: {size: 256, data_dir: [a, b], image_key: [jpg], enable_image: True}}}";

function resolve(text: string, ...overrides: string[]): LoadedConfig {
  return resolveConfig(parseConfig(text, "c.yaml"), { overrides });
}

/** Resolves the small tokenizer with overrides and expects a refusal. */
function assertRefused(override: string, problem: string, text: string = tokenizerYaml): void {
  const error = assertThrows(() => resolve(text, override), UserError);
  assert(error.message.includes(problem), `${error.message} should include ${problem}`);
}

Deno.test("resolveConfig() reads the reference's stage I and names ignored options once", () => {
  const { config, warnings } = asTokenizer(resolve(REFERENCE_TOKENIZER));
  assertEquals(warnings, [
    "Ignored options of c.yaml without a meaning here: trainer.accelerator, trainer.strategy, " +
    "trainer.devices, trainer.precision, trainer.num_sanity_val_steps, trainer.callbacks",
  ]);
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

Deno.test("resolveConfig() names an unknown key, its nearest one and the valid ones", () => {
  const text = tokenizerYaml.replace("max_steps: 600", "max_step: 600");
  const error = assertThrows(() => resolve(text), UserError);
  assert(
    error.message.startsWith(
      "Cannot read config c.yaml: unknown key trainer.max_step, the nearest is trainer.max_steps; " +
        "valid keys of trainer: accelerator, accumulate_grad_batches, ",
    ),
    error.message,
  );
  assertThrows(
    () => resolve("seed_all: 1"),
    UserError,
    "unknown key seed_all, the nearest is seed_everything; valid keys: ckpt_path",
  );
});

Deno.test("resolveConfig() names wrong types and ranges with expected and found", () => {
  assertRefused(
    "trainer.max_steps=many",
    'trainer.max_steps: expected a whole number of at least -1, found "many" (a string)',
  );
  assertRefused("trainer.max_steps=1.5", "found 1.5");
  assertRefused("trainer.log_every_n_steps=0", "expected a whole number of at least 1, found 0");
  assertRefused("model.ddconfig.dropout=1.5", "expected a number from 0 to 1, found 1.5");
  assertRefused(
    "model.learning_rate=.inf",
    "learning_rate: expected a number of at least 0, found Infinity",
  );
  assertRefused("model.use_ema=1", "expected true or false, found 1");
  assertRefused(
    "model.ddconfig.ch_mult=[1, a]",
    'ddconfig.ch_mult[1]: expected a whole number of at least 1, found "a"',
  );
  assertRefused("model.ddconfig.ch_mult=[]", "expected a list of at least 1");
  assertRefused(
    "model.ddconfig.ch=",
    "expected a whole number of at least 1, found null (an empty value)",
  );
  assertRefused("model.ddconfig=3", "model.init_args.ddconfig: expected a mapping, found 3");
  assertRefused("model.ddconfig.double_z=true", "expected false (the quantizer takes");
  assertRefused("model.lossconfig.disc_loss=wgan", 'expected one of hinge, vanilla, found "wgan"');
  assertRefused("model.lossconfig.vgg_width=[1, 2]", "a list of five channel counts");
  assertRefused("model.class_path=tessera.models.IBX", "the nearest is tessera.models.IBQ");
  assertRefused("seed_everything=-1", "expected a whole number from 0 to 4294967295");
  assertRefused("data.batch_size={a: 1}", "found a mapping with the keys a");
  const missing = tokenizerYaml.replace("n_embed: 512", "");
  assertThrows(
    () => resolve(missing),
    UserError,
    "model.init_args.n_embed: expected a whole number of at least 1, found no such key",
  );
  assertThrows(
    () => resolve(""),
    UserError,
    "Cannot read config c.yaml: expected a mapping, found null",
  );
  assertThrows(
    () => resolve("a: [1"),
    UserError,
    "Cannot read config c.yaml: expected YAML, found",
  );
});

Deno.test("resolveConfig() refuses sizes that do not fit each other", () => {
  assertRefused(
    "model.ddconfig.ch=20",
    "ddconfig.ch: expected channels that num_groups 32 divides, found 20 x 1 = 20",
  );
  assertRefused(
    "model.ddconfig.resolution=33",
    "expected a multiple of 2, as ch_mult has 2 levels, found 33",
  );
  assertRefused("model.ddconfig.out_ch=4", "expected in_channels, 3, found 4");
  assertRefused(
    "model.n_embed=100000000",
    "n_embed: expected a codebook whose 5 copies in training fit 8.00 GiB",
  );
  assertRefused("model.scheduler_type=linear-warmup_cosine", "linear-warmup_cosine-decay");
  assertRefused("model.lossconfig.disc_num_layers=5", "found 5, which leave none");
  assertRefused("model.lossconfig.disc_in_channels=1", "expected out_ch, 3, found 1");
  assertRefused("model.lossconfig.vgg_weights=a.pth", "vgg_width: expected 1 with vgg_weights");
  assertRefused("model.ddconfig.resolution=12", "perceptual_weight: expected 0");
  assertRefused(
    "data.train.size=31",
    "data.init_args.train: expected a size that is a multiple of 2",
  );
  const gpt = (override: string, problem: string) =>
    assertRefused(`model.transformer_config.${override}`, problem, transformerYaml);
  gpt("n_head=3", "n_head: expected a divisor of n_embd 128, found 3");
  gpt("n_head=64", "expected heads whose size 4 divides");
  gpt("n_kv_head=3", "n_kv_head: expected a divisor of n_head 4, found 3");
  gpt("cond_dim=64", "cond_dim: expected n_embd, 128");
  gpt("block_size=255", "expected a square number of tokens, found 255");
  assertRefused(
    "data.train.config.size=250",
    "multiple of 16, as the tokenizer halves it 4 times",
    REFERENCE_TRANSFORMER,
  );
  assertRefused(
    "model.transformer_config.vocab_size=8192",
    "expected n_embed of the tokenizer, 16384",
    REFERENCE_TRANSFORMER,
  );
  assertRefused(
    "model.first_stage_config.ddconfig.ch=100",
    "first_stage_config.params.ddconfig.ch: expected",
    REFERENCE_TRANSFORMER,
  );
  const both = `${REFERENCE_TOKENIZER}`.replace("use_ema: True", "scheduler_type: linear-warmup");
  assertThrows(
    () => resolve(both),
    UserError,
    "scheduler_type: expected None beside lr_drop_epoch",
  );
});

Deno.test("resolveConfig() checks the codebook against the given budget", () => {
  const source = parseConfig(tokenizerYaml, "c.yaml");
  assertThrows(() => resolveConfig(source, { codebookBudgetBytes: 1000 }), UserError, "n_embed");
});

Deno.test("resolveConfig() warns of an attention that no level has", () => {
  const { warnings } = resolve(tokenizerYaml, "model.ddconfig.attn_resolutions=[7]");
  assertEquals(warnings, [
    "No attention at resolution 7 of ddconfig.attn_resolutions: the levels are 32, 16",
  ]);
});

Deno.test("asTokenizer() and asTransformer() refuse the other stage", () => {
  assertThrows(
    () => asTokenizer(resolve(transformerYaml)),
    UserError,
    "expected model.class_path tessera.models.IBQ",
  );
  assertThrows(() => asTransformer(resolve(tokenizerYaml)), UserError, "found tessera.models.IBQ");
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
      file: new URL("../../configs/openmoji_tokenizer.yaml", import.meta.url).pathname,
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

/** Tests of overrides: short paths, short forms of data sets, division between the stages. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import tokenizerYaml from "./testdata/tokenizer.yaml" with { type: "text" };
import transformerYaml from "./testdata/transformer.yaml" with { type: "text" };
import { UserError } from "../errors.ts";
import {
  asTokenizer,
  asTransformer,
  distributeOverrides,
  parseConfig,
  resolveConfig,
  type TokenizerRunConfig,
} from "./mod.ts";
import { nearest } from "./nearest.ts";

const sources = {
  tokenizer: parseConfig(tokenizerYaml, "t.yaml"),
  transformer: parseConfig(transformerYaml, "g.yaml"),
};

function tokenizer(...overrides: string[]): TokenizerRunConfig {
  return asTokenizer(resolveConfig(sources.tokenizer, { overrides })).config;
}

Deno.test("nearest() finds the word with the fewest changes", () => {
  assertEquals(nearest("lr", ["rl", "learning_rate", "lrs"]), "lrs");
  assertEquals(nearest("max_step", ["max_epochs", "max_steps"]), "max_steps");
  assertEquals(nearest("x", []), undefined);
});

Deno.test("Overrides reach every level, with and without init_args and params", () => {
  const config = tokenizer(
    "model.ddconfig.ch=64",
    "model.init_args.ddconfig.num_groups=16",
    "model.lossconfig.disc_start = 5",
    "model.init_args.lossconfig.params.vgg_width=0.25",
    "data.batch_size=3",
    "trainer.max_steps=10",
    "trainer.max_steps=11",
  );
  assertEquals([config.model.params.ddconfig.ch, config.model.params.ddconfig.numGroups], [64, 16]);
  const { lossconfig } = config.model.params;
  assert(lossconfig.target === "tessera.losses.VQLPIPSWithDiscriminator");
  assertEquals([lossconfig.params.discStart, lossconfig.params.vggWidth[0]], [5, 16]);
  assertEquals([config.data.params.batchSize, config.trainer.maxSteps], [3, 11]);
  assertEquals(tokenizer().trainer.maxSteps, 600);
});

Deno.test("Overrides make the mappings that are missing", () => {
  const { config } = asTransformer(resolveConfig(sources.transformer, {
    overrides: [
      "model.first_stage_config={params: {ddconfig: {z_channels: 8, resolution: 32, ch: 32, " +
      "ch_mult: [1, 2], num_res_blocks: 1}, n_embed: 64, embed_dim: 8, lossconfig: {target: tessera.losses.DummyLoss}}}",
      "model.first_stage_config.ckpt_path=a/b=c.safetensors",
    ],
  }));
  assertEquals(config.model.params.firstStageConfig?.params.ckptPath, "a/b=c.safetensors");
});

Deno.test("data.train takes a folder or openmoji for training and validation", () => {
  const { train, validation, test } =
    tokenizer("data.train.size=16", "data.train=~/my pics: 2024").data.params;
  assert(train.target === "tessera.data.ImageFolder");
  assert(validation?.target === "tessera.data.ImageFolder");
  assertEquals([train.params.path, train.params.split, train.params.size], [
    "~/my pics: 2024",
    "train",
    16,
  ]);
  assertEquals([validation.params.path, validation.params.split], [
    train.params.path,
    "validation",
  ]);
  assertEquals(test, null);
  const embedded = tokenizer("data.train=pics", "data.train=openmoji").data.params;
  assertEquals(embedded.train.target, "tessera.data.OpenMoji");
  assertEquals(embedded.validation?.target, "tessera.data.OpenMoji");
  const separate = tokenizer("data.train=pics", "data.validation=other").data.params.validation;
  assert(separate?.target === "tessera.data.ImageFolder");
  assertEquals([separate.params.path, separate.params.split], ["other", "train"]);
});

Deno.test("Overrides without a value, key or known path are refused with the nearest key", () => {
  const refused = (override: string, problem: string) =>
    assertThrows(() => tokenizer(override), UserError, problem);
  refused("trainer.max_steps", "expected key.path=value");
  refused("=3", "expected key.path=value");
  refused(
    "trainer.max_step=3",
    "Cannot apply override trainer.max_step: unknown key in t.yaml, the nearest is trainer.max_steps",
  );
  refused("model.ddconfig.chmult=[1]", "the nearest is model.ddconfig.ch_mult");
  refused("model.n_layer=3", "unknown key in t.yaml");
  refused("model.ch=3", "the nearest is model.ddconfig.ch");
  refused("data.train=", "data.init_args.train: expected a mapping of target and params");
  refused("model.n_embed=[1", "expected a YAML value");
});

Deno.test("distributeOverrides() sends each override where it belongs", () => {
  const { tokenizer, transformer } = distributeOverrides([
    "tokenizer.trainer.max_steps=5",
    "transformer.model.learning_rate=1e-3",
    "data.train=pics",
    "seed_everything=3",
    "trainer.val_every_n_steps=9",
    "model.n_embed=64",
    "model.transformer_config.n_layer=2",
  ], sources);
  const both = ["data.train=pics", "seed_everything=3", "trainer.val_every_n_steps=9"];
  assertEquals(tokenizer, ["trainer.max_steps=5", ...both, "model.n_embed=64"]);
  assertEquals(transformer, [
    "model.learning_rate=1e-3",
    ...both,
    "model.transformer_config.n_layer=2",
  ]);
  assertEquals(
    resolveConfig(sources.transformer, { overrides: transformer }).config.seedEverything,
    3,
  );
});

Deno.test("distributeOverrides() asks for a prefix and names unknown keys", () => {
  assertThrows(
    () => distributeOverrides(["model.learning_rate=1"], sources),
    UserError,
    "expected tokenizer.model.learning_rate or transformer.model.learning_rate, as both stages have this key",
  );
  assertThrows(
    () => distributeOverrides(["model.transformer_config.layers=1"], sources),
    UserError,
    "Cannot apply override model.transformer_config.layers: unknown key in t.yaml and g.yaml, the nearest is model.transformer_config.n_layer",
  );
});

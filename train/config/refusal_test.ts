/** Tests of what configurations are refused, and how. @module */
import { assert, assertThrows } from "@std/assert";
import tokenizerYaml from "./testdata/tokenizer.yaml" with { type: "text" };
import transformerYaml from "./testdata/transformer.yaml" with { type: "text" };
import { UserError } from "../errors.ts";
import { asTokenizer, asTransformer, parseConfig, resolveConfig } from "./mod.ts";
import { REFERENCE_TOKENIZER, REFERENCE_TRANSFORMER, resolve } from "./test_fixtures.ts";

/** Resolves the small tokenizer with overrides and expects a refusal. */
function assertRefused(override: string, problem: string, text: string = tokenizerYaml): void {
  const error = assertThrows(() => resolve(text, override), UserError);
  assert(error.message.includes(problem), `${error.message} should include ${problem}`);
}

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
  assertRefused(
    "trainer.precision=64-true",
    'trainer.precision: expected f32 or f16 (or Lightning\'s 32-true or 16-mixed), found "64-true" (a string)',
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
  assertRefused(
    "data.batch_size=0",
    "data.init_args.batch_size: expected a whole number of at least 1, or auto, found 0",
  );
  assertRefused(
    "model.ddconfig.checkpoint_levels=[0, 4]",
    "ddconfig.checkpoint_levels: expected levels from 0 to",
  );
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
  gpt("checkpoint_blocks=99", "checkpoint_blocks: expected at most n_layer, ");
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

Deno.test("asTokenizer() and asTransformer() refuse the other stage", () => {
  assertThrows(
    () => asTokenizer(resolve(transformerYaml)),
    UserError,
    "expected model.class_path tessera.models.IBQ",
  );
  assertThrows(() => asTransformer(resolve(tokenizerYaml)), UserError, "found tessera.models.IBQ");
});

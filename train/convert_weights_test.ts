/** Tests of what PyTorch's checkpoints hold for our models, without a device. @module */

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { assertComplete } from "./checkpoint.ts";
import { parseConfig, resolveConfig } from "./config/mod.ts";
import { asTokenizer, asTransformer, completeTransformer } from "./config/mod.ts";
import { compareWithModel, type ModelSizes, referenceTensors } from "./convert_weights.ts";
import { UserError } from "./errors.ts";
import { openTensors } from "./files/open_tensors.ts";
import { describeLoad } from "./load_report.ts";

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted";
const FOLDER = "tests/golden/ckpt";

/** The model whose weights the vectors hold. */
function transformerSizes(): ModelSizes {
  const file = "c.yaml";
  const { config } = asTransformer(resolveConfig(parseConfig(
    `
model:
  class_path: src.IBQ.models.cond_transformer_llama.Net2NetTransformer
  init_args:
    transformer_config:
      target: src.IBQ.modules.transformer.llama.GPT
      params: { vocab_size: 48, block_size: 16, n_layer: 1, n_head: 2, n_embd: 32, multiple_of: 32, class_num: 5 }
    first_stage_config:
      target: src.IBQ.models.ibqgan.IBQ
      params:
        ddconfig: { z_channels: 4, resolution: 4, ch: 32, ch_mult: [1], num_res_blocks: 1 }
        lossconfig: { target: src.IBQ.modules.losses.DummyLoss }
        n_embed: 48
        embed_dim: 4
    cond_stage_config: { params: { n_classes: 5 } }
data: { init_args: { batch_size: 1, train: openmoji } }
`,
    file,
  )));
  const { gpt } = completeTransformer(config, { tokenizer: null, classNum: 5, file });
  return { stage: "transformer", gpt };
}

Deno.test({
  name: "Lightning's checkpoints are complete for the model, other parts are left aside",
  ignore,
  async fn() {
    using file = await openTensors(`${FOLDER}/gpt_f32.ckpt`);
    const report = compareWithModel(file, transformerSizes());
    assertComplete(file.name, report);
    assertEquals(
      describeLoad("x", report),
      "x: 15 tensors loaded, 0 missing, 0 unexpected, 0 of another shape; left aside: first_stage_model 9",
    );
  },
});

Deno.test({
  name: "a tensor of another shape is named before anything is loaded",
  ignore,
  async fn() {
    using file = await openTensors(`${FOLDER}/bad_wrong_shape.ckpt`);
    const report = compareWithModel(file, transformerSizes());
    assertEquals(report.mismatched, [
      { name: "transformer.tok_emb.weight", expected: [48, 32], found: [47, 32] },
    ]);
    const { message } = assertThrows(() => assertComplete("x", report), UserError);
    assertStringIncludes(message, "Cannot load x: expected the tensors of the configured model");
  },
});

Deno.test("a model of another depth finds tensors that it does not expect", () => {
  const sizes = transformerSizes();
  const state = (name: string, shape: number[]) => [name, { name, dtype: "F32", shape }] as const;
  const file = {
    name: "x",
    metadata: new Map<string, string>(),
    entries: new Map([state("transformer.blocks.1.attention.wo.weight", [32, 32])]),
    bytes: () => Promise.resolve(new Uint8Array()),
    [Symbol.dispose]: () => {},
  };
  assertEquals(compareWithModel(file, sizes).unexpected, [
    "transformer.blocks.1.attention.wo.weight",
  ]);
});

Deno.test("referenceTensors() puts averages last and leaves the state of the training out", () => {
  const names = ["b.num_batches_tracked", "model_ema.aweight", "model_ema.num_updates", "a.weight"];
  names.push("optimizer.a.weight.exp_avg", "loss.lecam_ema.logits_real_ema", "loss.d.weight");
  const file = {
    name: "x",
    metadata: new Map<string, string>(),
    entries: new Map(names.map((name) => [name, { name, dtype: "F32", shape: [] } as const])),
    bytes: () => Promise.resolve(new Uint8Array(4)),
    [Symbol.dispose]: () => {},
  };
  assertEquals(referenceTensors(file).map(({ name, dtype }) => `${name} ${dtype}`), [
    "a.weight F32",
    "b.num_batches_tracked I64",
    "loss.d.weight F32",
    "model_ema.aweight F32",
    "model_ema.num_updates I32",
  ]);
});

Deno.test("taming-transformers' layout names a tokenizer that chooses the nearest code", () => {
  const { config, warnings } = asTokenizer(resolveConfig(parseConfig(
    `
model:
  base_learning_rate: 4.5e-06
  target: taming.models.vqgan.VQModel
  params:
    embed_dim: 4
    n_embed: 8
    monitor: val/rec_loss
    ddconfig: { z_channels: 4, resolution: 16, ch: 32, ch_mult: [1, 2], num_res_blocks: 1 }
    lossconfig: { target: taming.modules.losses.vqperceptual.DummyLoss }
data:
  target: main.DataModuleFromConfig
  params: { batch_size: 2, train: { target: taming.data.imagenet.ImageNetTrain, params: { config: { size: 16 } } } }
lightning: { trainer: { benchmark: true } }
`,
    "c.yaml",
  )));
  assertEquals([config.model.params.quantizer, config.model.params.nEmbed], ["nearest", 8]);
  assertEquals(warnings, [
    "Ignored options of c.yaml without a meaning here: lightning, model.init_args.monitor, model.init_args.base_learning_rate",
  ]);
});

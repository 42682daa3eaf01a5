/** Configurations in the reference's shape, for the tests of this folder. @module */
import { type LoadedConfig, parseConfig, resolveConfig } from "./mod.ts";

/** The reference's shape of stage I, with all kinds of keys that published files have. */
export const REFERENCE_TOKENIZER = `
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
export const REFERENCE_TRANSFORMER = `
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

/**
 * Resolves a text.
 *
 * @param text YAML.
 * @param overrides Texts `key.path=value`.
 * @returns The configuration of the file "c.yaml".
 */
export function resolve(text: string, ...overrides: string[]): LoadedConfig {
  return resolveConfig(parseConfig(text, "c.yaml"), { overrides });
}

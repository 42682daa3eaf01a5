/** The schema of stage II: the transformer, its tokenizer and its condition. @module */
import {
  boolean,
  type Field,
  integer,
  nullable,
  number,
  only,
  probability,
  text,
} from "./field.ts";
import type { GptConfig, LabelatorConfig, TransformerConfig } from "./model_types.ts";
import { instance, object } from "./object_field.ts";
import { CKPT_PATH_DOC, ckptPartial, TOKENIZER_VARIANTS } from "./tokenizer_schema.ts";

const gpt = object<GptConfig>({
  vocabSize: nullable(integer({ doc: "Number of tokens; null for the tokenizer's codes", min: 1 })),
  blockSize: nullable(
    integer({ doc: "Tokens of an image; null for the tokenizer's grid", min: 1 }),
  ),
  nLayer: integer({ doc: "Number of blocks", min: 1, initial: 12 }),
  nHead: integer({ doc: "Heads of the queries", min: 1, initial: 8 }),
  nKvHead: nullable(integer({ doc: "Heads of keys and values; null for n_head", min: 1 })),
  nEmbd: integer({ doc: "Channels", min: 1, initial: 256 }),
  condDim: nullable(integer({ doc: "Channels of the condition; null for n_embd", min: 1 })),
  classNum: nullable(integer({ doc: "Number of classes; null for the data set's", min: 1 })),
  residDropoutP: probability({ doc: "Dropout behind the attention", initial: 0 }),
  attnDropoutP: probability({ doc: "Dropout of the attention's weights", initial: 0 }),
  ffnDropoutP: probability({ doc: "Dropout behind the feed-forward part", initial: 0.1 }),
  tokenDrop: probability({ doc: "Dropout of the embeddings", initial: 0.1 }),
  dropPathRate: probability({
    doc: "Probability of leaving out the last block's branches",
    initial: 0,
  }),
  ropeBase: number({ doc: "Base of the rotary frequencies", min: 1, initial: 10000 }),
  normEps: number({ doc: "Added to the mean square in RMS norms", min: 0, initial: 1e-5 }),
  ffnDimMultiplier: nullable(number({ doc: "Factor of the feed-forward part's width", min: 0 })),
  multipleOf: integer({
    doc: "The feed-forward part's width is a multiple of this",
    min: 1,
    initial: 256,
  }),
  sharedAln: boolean({ doc: "Whether the blocks share one adaptive layer norm", initial: false }),
  alng: number({
    doc: "Factor of the first gains of the adaptive layer norms",
    min: 0,
    initial: 1e-3,
  }),
  usePretrainedCodebook: boolean({
    doc: "Whether the tokens are embedded by the tokenizer's codebook",
    initial: false,
  }),
  codebookCkptPath: nullable(text({ doc: "Checkpoint of that codebook" })),
  nCodebookEmbd: integer({ doc: "Numbers of a code of that codebook", min: 1, initial: 256 }),
  checkpointBlocks: integer({
    doc: "Blocks, from the first on, whose values the backward pass computes again; less memory",
    min: 0,
    initial: 0,
  }),
}, {
  doc: "The transformer",
  ignored: {
    embd_pdrop: 0,
    n_unmasked: 0,
    max_batch_size: 32,
    max_seq_len: 2048,
    cls_token_num: 1,
    initalizer_range: 0.02,
  },
});

const labelator = object<LabelatorConfig>({
  nClasses: nullable(integer({ doc: "Number of classes; null for the data set's", min: 1 })),
}, { doc: "The class of an image", ignored: { quantize_interface: true } });

const targetKeys = ["target", "params"] as const;

/** Options of stage II whose only supported value is the reference's default. */
const condStage = instance([
  {
    target: "tessera.models.Labelator",
    aliases: ["src.IBQ.modules.util.Labelator"],
    params: labelator,
  },
], {
  doc: "The condition: the class",
  keys: targetKeys,
  defaultTarget: "tessera.models.Labelator",
});

/** Arguments of stage II. */
export const transformerParams: Field<TransformerConfig> = object<TransformerConfig>({
  transformerConfig: instance([
    {
      target: "tessera.models.GPT",
      aliases: ["src.IBQ.modules.transformer.llama.GPT"],
      params: gpt,
    },
  ], { doc: "The transformer", keys: targetKeys, defaultTarget: "tessera.models.GPT" }),
  firstStageConfig: nullable(instance(TOKENIZER_VARIANTS, {
    doc: "The tokenizer; null for the one trained before in the same run",
    keys: targetKeys,
    defaultTarget: "tessera.models.IBQ",
  })),
  condStageConfig: condStage,
  ckptPath: nullable(text({ doc: CKPT_PATH_DOC })),
  ckptPartial,
  pkeep: probability({ doc: "Share of the input tokens that are kept", initial: 1 }),
  unconditional: only(false, {
    doc: "Training without classes",
    why: "every published model has classes",
  }),
  learningRate: number({ doc: "Learning rate at the end of the warm-up", min: 0, initial: 3e-4 }),
  weightDecay: number({ doc: "Weight decay of the first step", min: 0, initial: 1e-2 }),
  wp: number({ doc: "Epochs of the warm-up", min: 0, initial: 0 }),
  wp0: number({ doc: "Multiplier of the rate at step 0", min: 0, initial: 0.005 }),
  wpe: number({ doc: "Multiplier of the rate at the last step", min: 0, initial: 0.01 }),
  twde: number({ doc: "Weight decay of the last step; 0 keeps weight_decay", min: 0, initial: 0 }),
}, {
  doc: "The transformer and how it is trained",
  ignored: {
    ignore_keys: [],
    first_stage_key: "image",
    cond_stage_key: "class_label",
    downsample_cond_size: -1,
    sos_token: 0,
    use_pretrained_codebook: false,
  },
});

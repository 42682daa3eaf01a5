/** The schema of stage I: tokenizer, encoder and decoder, losses. @module */
import {
  boolean,
  choice,
  configError,
  describe,
  type Field,
  integer,
  list,
  nullable,
  number,
  only,
  probability,
  text,
} from "./field.ts";
import type { EncoderDecoderConfig, TokenizerConfig, TokenizerLossConfig } from "./model_types.ts";
import { instance, object } from "./object_field.ts";

/** Channels of VGG16's blocks, and the widths that `vgg_width` multiplies. */
export const VGG_CHANNELS: readonly number[] = [64, 128, 256, 512, 512];

const ddconfig = object<EncoderDecoderConfig>({
  doubleZ: only(false, {
    doc: "Whether the encoder gives a mean and a variance",
    why: "the quantizer takes the encoder's output itself",
  }),
  zChannels: integer({ doc: "Channels of the encoder's output", min: 1 }),
  resolution: integer({ doc: "Width and height of the images in pixels", min: 1 }),
  inChannels: integer({ doc: "Channels of the images", min: 1, initial: 3 }),
  outCh: integer({ doc: "Channels of the reconstructions", min: 1, initial: 3 }),
  ch: integer({ doc: "Channels of the first level", min: 1 }),
  chMult: list(integer({ doc: "A multiple of ch", min: 1 }), {
    doc: "Multiples of ch, one a level; each level but the first halves the resolution",
    minLength: 1,
    initial: [1, 2, 4, 8],
  }),
  numResBlocks: integer({ doc: "Residual blocks of a level", min: 1 }),
  attnResolutions: list(integer({ doc: "A resolution", min: 1 }), {
    doc: "Resolutions at which attention follows each residual block",
    initial: [],
  }),
  dropout: probability({ doc: "Dropout in the residual blocks", initial: 0 }),
  resampWithConv: only(true, {
    doc: "Whether down- and up-sampling have a convolution",
    why: "every published tokenizer has it",
  }),
  numGroups: integer({
    doc: "Groups of the group norms; small models need fewer",
    min: 1,
    initial: 32,
  }),
  checkpointLevels: list(integer({ doc: "A level", min: 0 }), {
    doc:
      "Levels, 0 the highest resolution, whose values the backward pass computes again; less memory",
    initial: [],
  }),
}, { doc: "Encoder and decoder", ignored: { give_pre_end: false } });

/** Channels of VGG16's blocks: given as five numbers, or as one factor of the original's. */
const vggWidth: Field<readonly number[]> = {
  expected: "a factor from 0 to 4, or a list of five channel counts",
  doc: "Width of VGG16: a factor of 64, 128, 256, 512, 512, or five channel counts",
  initial: { value: VGG_CHANNELS },
  read(value, place) {
    const channels: unknown = typeof value === "number" && value > 0 && value <= 4
      ? VGG_CHANNELS.map((count) => Math.max(1, Math.round(count * value)))
      : value;
    if (Array.isArray(channels) && channels.length === VGG_CHANNELS.length) {
      return list(integer({ doc: "Channels", min: 1 }), { doc: "" }).read(channels, place);
    }
    throw configError(place, `expected ${this.expected}, found ${describe(value)}`);
  },
  write: (value) => value,
  entries: () => [],
};

const lossParams = object<TokenizerLossConfig>({
  discStart: integer({ doc: "Step from which the discriminator takes part", min: 0, initial: 0 }),
  codebookWeight: number({
    doc: "Weight of the codebook loss where use_entropy_loss is false",
    min: 0,
    initial: 1,
  }),
  pixellossWeight: number({ doc: "Accepted and unused, as in the reference", initial: 1 }),
  discNumLayers: integer({
    doc: "Strided convolutions of the discriminator",
    min: 1,
    max: 8,
    initial: 3,
  }),
  discInChannels: integer({ doc: "Channels that the discriminator sees", min: 1, initial: 3 }),
  discFactor: number({ doc: "Factor of both adversarial losses", min: 0, initial: 1 }),
  discWeight: number({
    doc: "Factor of the adaptive weight, used where gen_loss_weight is null",
    min: 0,
    initial: 1,
  }),
  perceptualWeight: number({ doc: "Weight of LPIPS; 0 leaves it out", min: 0, initial: 1 }),
  useActnorm: only(false, {
    doc: "ActNorm in the discriminator",
    why: "its batch norm is the published one",
  }),
  discConditional: only(false, {
    doc: "A condition for the discriminator",
    why: "the tokenizer has no condition",
  }),
  discNdf: integer({ doc: "Channels of the discriminator's first layer", min: 1, initial: 64 }),
  discLoss: choice(["hinge", "vanilla"], { doc: "Loss of the discriminator", initial: "hinge" }),
  genLossWeight: nullable(number({
    doc: "Weight of the generator's adversarial loss; null for the adaptive weight",
    min: 0,
  })),
  lecamLossWeight: nullable(number({ doc: "Weight of LeCAM's regularization", min: 0 })),
  quantLossWeight: number({ doc: "Weight of the double quantization loss", min: 0, initial: 1 }),
  entropyLossWeight: number({ doc: "Weight of the entropy loss", min: 0, initial: 1 }),
  vggWidth,
  vggWeights: nullable(
    text({
      doc:
        "File of VGG16's and LPIPS' weights; null takes the published ones where vgg_width is 1 and they are cached, or else draws them from vgg_seed",
    }),
  ),
  vggSeed: integer({ doc: "Seed of the random VGG16", min: 0, max: 2 ** 32 - 1, initial: 0 }),
}, { doc: "Losses of stage I" });

const lossconfig = instance([
  {
    target: "tessera.losses.VQLPIPSWithDiscriminator",
    aliases: [
      "src.IBQ.modules.losses.vqperceptual.VQLPIPSWithDiscriminator",
      "src.IBQ.modules.losses.VQLPIPSWithDiscriminator",
      "taming.modules.losses.vqperceptual.VQLPIPSWithDiscriminator",
    ],
    params: lossParams,
  },
  {
    target: "tessera.losses.DummyLoss",
    aliases: [
      "src.IBQ.modules.losses.DummyLoss",
      "src.IBQ.modules.losses.vqperceptual.DummyLoss",
      "taming.modules.losses.vqperceptual.DummyLoss",
    ],
    params: object<Readonly<Record<never, never>>>({}, { doc: "Nothing" }),
  },
], {
  doc: "Losses of stage I, or none where the tokenizer is only used",
  keys: ["target", "params"],
});

/** What `ckpt_path` of a model means. */
export const CKPT_PATH_DOC =
  "Checkpoint (.ckpt, .pth, .safetensors) from which the weights are taken";
/** Whether such a checkpoint may be incomplete. */
export const ckptPartial: Field<boolean> = boolean({
  doc: "Whether the checkpoint may lack weights of the model, which then keep their first values",
  initial: false,
});

const epochs = { doc: "Epochs of the warm-up", min: 0, initial: 0 };

/** Arguments of the tokenizers of both kinds; how they choose codes is the only other default. */
const tokenizerParams = (quantizer: TokenizerConfig["quantizer"]): Field<TokenizerConfig> =>
  object<TokenizerConfig>({
    ddconfig,
    lossconfig,
    nEmbed: integer({ doc: "Number of codes", min: 1 }),
    embedDim: integer({ doc: "Numbers of a code", min: 1 }),
    codebookInitScale: number({
      doc: "Standard deviation of the codes' first values",
      min: 0,
      initial: 1,
    }),
    quantizer: choice(["index", "nearest"], {
      doc:
        "How a code is chosen: by inner product (IBQ), or the nearest one (VQGAN, not trained here)",
      initial: quantizer,
    }),
    l2Normalize: boolean({
      doc: "With nearest: whether vectors are brought to length 1 first",
      initial: false,
    }),
    ckptPath: nullable(text({ doc: CKPT_PATH_DOC })),
    ckptPartial,
    useEntropyLoss: boolean({ doc: "Whether the entropy loss is used", initial: false }),
    sampleMinimizationWeight: number({ doc: "Weight of the samples' entropy", min: 0, initial: 1 }),
    batchMaximizationWeight: number({
      doc: "Weight of the mean distribution's entropy",
      min: 0,
      initial: 1,
    }),
    entropyTemperature: number({
      doc: "Temperature in the entropy loss",
      min: 1e-6,
      initial: 0.01,
    }),
    beta: number({
      doc: "Weight of the codebook's side of the quantization loss",
      min: 0,
      initial: 0.25,
    }),
    emaDecay: number({
      doc: "Share of that average that a step keeps",
      min: 0,
      max: 1,
      initial: 0.999,
    }),
    useEma: boolean({ doc: "Whether a moving average of the weights is kept", initial: false }),
    gradientClipVal: number({
      doc: "Global norm of the generator's gradient; 0 does not clip",
      min: 0,
      initial: 0,
    }),
    stage: nullable(
      choice(["transformer"], { doc: "transformer where the tokenizer is not trained" }),
    ),
    learningRate: number({ doc: "Learning rate", min: 0, initial: 1e-4 }),
    resumeLr: nullable(number({ doc: "Learning rate from the start of this process on", min: 0 })),
    schedulerType: choice(["None", "linear-warmup", "linear-warmup_cosine-decay"], {
      doc: "Schedule of the learning rate",
      initial: "None",
    }),
    warmupEpochs: number(epochs),
    minLearningRate: number({ doc: "Lower bound of the cosine", min: 0, initial: 0 }),
    lrDropEpoch: nullable(list(integer({ doc: "An epoch", min: 1 }), {
      doc: "Epochs from which on the rate is multiplied by lr_drop_rate",
    })),
    lrDropIter: nullable(list(integer({ doc: "A step", min: 1 }), {
      doc: "Pre-training: steps from which on the rate is multiplied by lr_drop_rate",
    })),
    lrDropRate: number({ doc: "Factor of one drop", min: 0, initial: 0.1 }),
    scheType: nullable(choice(["lin0", "cos"], { doc: "Pre-training: decay after the warm-up" })),
    wp: number(epochs),
    wp0: number({ doc: "Multiplier of the rate at step 0", min: 0, initial: 0.005 }),
    wpe: number({ doc: "Multiplier of the rate at the last step", min: 0, initial: 0.01 }),
    maxIter: nullable(integer({ doc: "Pre-training: steps of the schedule", min: 1 })),
    wpIter: nullable(integer({ doc: "Pre-training: steps of the warm-up", min: 0 })),
  }, {
    doc: "The tokenizer and how it is trained",
    ignored: {
      ignore_keys: [],
      image_key: "image",
      colorize_nlabels: null,
      monitor: null,
      remap: null,
      sane_index_shape: false,
      cosine_similarity: false,
      use_shared_epoch: true,
      base_learning_rate: undefined,
    },
  });

/** The tokenizers that a configuration may name: IBQ, and VQGAN under the reference's and taming-transformers' names. */
export const TOKENIZER_VARIANTS = [
  {
    target: "tessera.models.IBQ",
    aliases: ["src.IBQ.models.ibqgan.IBQ", "src.IBQ.models.ibqgan_pretrain.IBQ"],
    params: tokenizerParams("index"),
  },
  {
    target: "tessera.models.IBQ",
    aliases: ["src.IBQ.models.ibqgan.VQModel", "taming.models.vqgan.VQModel"],
    params: tokenizerParams("nearest"),
  },
] as const;

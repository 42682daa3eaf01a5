/**
 * The configuration of the models and their losses as the program sees it: every key of the YAML files in camel case.
 *
 * @module
 */
import type { EncoderDecoderOptions } from "../../models/blocks.ts";
import type { TokenizerScheduleOptions, TransformerScheduleOptions } from "../schedule.ts";
import type { Instance } from "./object_field.ts";

/** Encoder and decoder: the model's own options, and two of the reference that have one possible value here. */
export interface EncoderDecoderConfig extends EncoderDecoderOptions {
  /** Whether the encoder gives mean and variance; never, as there is no variational tokenizer here. */
  readonly doubleZ: false;
  /** Whether resampling has a convolution; always. */
  readonly resampWithConv: true;
  /** Levels whose values the backward pass computes again. */
  readonly checkpointLevels: readonly number[];
}

/** Losses of stage I with perceptual loss and discriminator. */
export interface TokenizerLossConfig {
  /** Step from which the discriminator takes part. */
  readonly discStart: number;
  /** Weight of the codebook loss where no entropy loss is used. */
  readonly codebookWeight: number;
  /** Accepted and unused, as in the reference. */
  readonly pixellossWeight: number;
  /** Strided convolutions of the discriminator. */
  readonly discNumLayers: number;
  /** Channels that the discriminator sees. */
  readonly discInChannels: number;
  /** Factor of both adversarial losses once they take part. */
  readonly discFactor: number;
  /** Factor of the adaptive weight, used where `genLossWeight` is null. */
  readonly discWeight: number;
  /** Weight of LPIPS; 0 leaves it out. */
  readonly perceptualWeight: number;
  /** Whether the discriminator normalizes by ActNorm; never. */
  readonly useActnorm: false;
  /** Whether the discriminator sees a condition; never. */
  readonly discConditional: false;
  /** Channels of the discriminator's first layer. */
  readonly discNdf: number;
  /** Loss of the discriminator. */
  readonly discLoss: "hinge" | "vanilla";
  /** Weight of the generator's adversarial loss; null for the adaptive weight. */
  readonly genLossWeight: number | null;
  /** Weight of LeCAM's regularization; null for none. */
  readonly lecamLossWeight: number | null;
  /** Weight of the double quantization loss. */
  readonly quantLossWeight: number;
  /** Weight of the entropy loss. */
  readonly entropyLossWeight: number;
  /** Channels of VGG16's five blocks. */
  readonly vggWidth: readonly number[];
  /** File with the weights of VGG16 and of LPIPS' heads; null draws them at random from `vggSeed`. */
  readonly vggWeights: string | null;
  /** Seed of the random VGG16. */
  readonly vggSeed: number;
}

/** Losses of stage I, or none where the tokenizer is only used. */
export type LossConfig =
  | Instance<"tessera.losses.VQLPIPSWithDiscriminator", TokenizerLossConfig>
  | Instance<"tessera.losses.DummyLoss", Readonly<Record<never, never>>>;

/** Stage I: the tokenizer and how it is trained. */
export interface TokenizerConfig extends TokenizerScheduleOptions {
  /** Encoder and decoder. */
  readonly ddconfig: EncoderDecoderConfig;
  /** Losses. */
  readonly lossconfig: LossConfig;
  /** Number of codes. */
  readonly nEmbed: number;
  /** Numbers of a code. */
  readonly embedDim: number;
  /** Standard deviation of the codes' first values; 1 as in the reference. */
  readonly codebookInitScale: number;
  /** How a code is chosen: by inner product as in IBQ, or the nearest one as in VQGAN, which is not trained here. */
  readonly quantizer: "index" | "nearest";
  /** Whether the nearest code is meant between vectors of length 1; without effect on IBQ, as in the reference. */
  readonly l2Normalize: boolean;
  /** Checkpoint from which the weights are taken, or null. */
  readonly ckptPath: string | null;
  /** Whether that checkpoint may lack weights. */
  readonly ckptPartial: boolean;
  /** Whether the entropy loss is used. */
  readonly useEntropyLoss: boolean;
  /** Weight of the samples' entropy in the entropy loss. */
  readonly sampleMinimizationWeight: number;
  /** Weight of the mean distribution's entropy in the entropy loss. */
  readonly batchMaximizationWeight: number;
  /** Temperature of the distributions in the entropy loss. */
  readonly entropyTemperature: number;
  /** Weight of the codebook's side of the quantization loss. */
  readonly beta: number;
  /** Whether a moving average of the weights is kept, and used outside of training. */
  readonly useEma: boolean;
  /** Share of that average that a step keeps; 0.999 in the reference, too slow for runs of some hundred steps. */
  readonly emaDecay: number;
  /** Global norm to which the generator's gradient is clipped; 0 for no clipping. */
  readonly gradientClipVal: number;
  /** "transformer" where the tokenizer serves stage II and is not trained; null otherwise. */
  readonly stage: "transformer" | null;
}

/** The transformer. What is null follows from the tokenizer or the data set. */
export interface GptConfig {
  /** Number of tokens; null for the tokenizer's number of codes. */
  readonly vocabSize: number | null;
  /** Tokens of an image; null for the tokenizer's grid. */
  readonly blockSize: number | null;
  /** Number of blocks. */
  readonly nLayer: number;
  /** Heads of the queries. */
  readonly nHead: number;
  /** Heads of keys and values; null for as many as of the queries. */
  readonly nKvHead: number | null;
  /** Channels. */
  readonly nEmbd: number;
  /** Channels of the condition; null for `nEmbd`, the only possible value. */
  readonly condDim: number | null;
  /** Number of classes; null for those of the data set. */
  readonly classNum: number | null;
  /** Dropout behind the attention. */
  readonly residDropoutP: number;
  /** Dropout of the attention's weights. */
  readonly attnDropoutP: number;
  /** Dropout behind the feed-forward part. */
  readonly ffnDropoutP: number;
  /** Dropout of the embeddings. */
  readonly tokenDrop: number;
  /** Largest probability of leaving out a block's branch, reached at the last block. */
  readonly dropPathRate: number;
  /** Base of the rotary embedding's frequencies. */
  readonly ropeBase: number;
  /** Added to the mean square in RMS norms. */
  readonly normEps: number;
  /** Factor of the feed-forward part's width, or null. */
  readonly ffnDimMultiplier: number | null;
  /** The feed-forward part's width is rounded up to a multiple of this. */
  readonly multipleOf: number;
  /** Whether all blocks share one adaptive layer norm. */
  readonly sharedAln: boolean;
  /** Factor of the first gains of the adaptive layer norm. */
  readonly alng: number;
  /** Whether the token embedding is the tokenizer's codebook, fixed, with a projection behind it. */
  readonly usePretrainedCodebook: boolean;
  /** Checkpoint of that codebook, or null. */
  readonly codebookCkptPath: string | null;
  /** Numbers of a code of that codebook. */
  readonly nCodebookEmbd: number;
  /** Blocks, from the first on, whose values the backward pass computes again. */
  readonly checkpointBlocks: number;
}

/** Where the class of an image comes from. */
export interface LabelatorConfig {
  /** Number of classes; null for those of the data set. */
  readonly nClasses: number | null;
}

/** Stage II: the transformer and how it is trained. */
export interface TransformerConfig extends TransformerScheduleOptions {
  /** The transformer itself. */
  readonly transformerConfig: Instance<"tessera.models.GPT", GptConfig>;
  /** The tokenizer; null for the one trained before in the same run. */
  readonly firstStageConfig: Instance<"tessera.models.IBQ", TokenizerConfig> | null;
  /** The condition. */
  readonly condStageConfig: Instance<"tessera.models.Labelator", LabelatorConfig>;
  /** Checkpoint from which the weights are taken, or null. */
  readonly ckptPath: string | null;
  /** Whether that checkpoint may lack weights. */
  readonly ckptPartial: boolean;
  /** Share of the input tokens that are kept; the others are replaced by random ones. */
  readonly pkeep: number;
  /** Whether there are no classes; never. */
  readonly unconditional: false;
}

/** A model of either stage. */
export type ModelConfig =
  | Instance<"tessera.models.IBQ", TokenizerConfig>
  | Instance<"tessera.models.ClassConditionalTransformer", TransformerConfig>;

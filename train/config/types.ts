/**
 * The configuration of a run as the program sees it: every key of the YAML files in camel case, every default filled in.
 *
 * @module
 */
import type { ModelConfig, TokenizerConfig, TransformerConfig } from "./model_types.ts";
import type { TokenViews } from "../views.ts";
import type { Instance } from "./object_field.ts";

/** Type in which activations and copies of weights are stored. */
export type Precision = "f32" | "f16";

/** Which checkpoints are written and kept, as Lightning's callback of that name says it. */
export interface ModelCheckpointConfig {
  /** The metric that ranks checkpoints, as `train/loss` or `val/psnr`; null ranks none. */
  readonly monitor: string | null;
  /** Whether the smallest or the largest values are the best. */
  readonly mode: "min" | "max";
  /** How many of the best checkpoints are kept; -1 keeps all. */
  readonly saveTopK: number;
  /** Optimizer steps between two checkpoints; null where epochs decide. */
  readonly everyNTrainSteps: number | null;
  /** Epochs between two checkpoints. */
  readonly everyNEpochs: number;
}

/** What is done beside training, by the names of Lightning's callbacks. */
export type CallbackConfig =
  | Instance<"tessera.callbacks.ModelCheckpoint", ModelCheckpointConfig>
  | Instance<"tessera.callbacks.LearningRateMonitor", Readonly<Record<never, never>>>;

/** How long to train and how often to do what. */
export interface TrainerConfig {
  /** Epochs of the run; null or −1 for no such limit. */
  readonly maxEpochs: number | null;
  /** Optimizer steps of the run; −1 for no such limit. */
  readonly maxSteps: number;
  /** Steps between two lines of the log. */
  readonly logEveryNSteps: number;
  /** Steps between two validations; null to follow the two reference options below. */
  readonly valEveryNSteps: number | null;
  /** Reference: a whole number of steps between validations, or a share of an epoch. */
  readonly valCheckInterval: number;
  /** Reference: epochs between validations; null where `valCheckInterval` alone decides. */
  readonly checkValEveryNEpoch: number | null;
  /** Batches of a validation at most; null for all. */
  readonly limitValBatches: number | null;
  /** Steps between two checkpoints; null for the end of each epoch. */
  readonly saveEveryNSteps: number | null;
  /** Steps between two pictures of reconstructions or samples. */
  readonly imageEveryNSteps: number;
  /** Global norm to which gradients are clipped; null for no clipping. */
  readonly gradientClipVal: number | null;
  /** Batches whose gradients are averaged for one optimizer step. */
  readonly accumulateGradBatches: number;
  /** Type of activations and copies of weights; with f16 the losses are scaled. */
  readonly precision: Precision;
  /** Whether every result of every step is looked at for NaN and infinity. */
  readonly detectAnomaly: boolean;
  /** What is done beside training; null for nothing. */
  readonly callbacks: readonly CallbackConfig[] | null;
}

/** Which part of a data set that has no such division of its own. */
export type SplitName = "train" | "validation";

/** The embedded drawings. */
export interface OpenMojiConfig {
  /** Width and height in pixels; null for the tokenizer's resolution. */
  readonly size: number | null;
  /** Which part. */
  readonly split: SplitName;
  /** Whether images are mirrored at random. */
  readonly horizontalFlip: boolean;
}

/** A folder of images, one sub-folder a class. */
export interface ImageFolderConfig extends OpenMojiConfig {
  /** The folder. */
  readonly path: string;
  /** Whether the square is cut out at random; at the center otherwise. */
  readonly randomCrop: boolean;
}

/** The images of a `.npz` file. */
export interface NpzConfig extends Omit<ImageFolderConfig, "split"> {
  /** Which part, chosen by a hash of an image's number; or all. */
  readonly split: SplitName | "all";
}

/** ImageNet as the reference lays it out. */
export interface ImageNetConfig {
  /** Options, in the reference's extra level. */
  readonly config: {
    /** Folder with the folders of the synsets; null for the reference's default place. */
    readonly root: string | null;
    /** Width and height in pixels; null for the tokenizer's resolution. */
    readonly size: number | null;
    /** Name of a list of files, or null for all. */
    readonly subset: string | null;
    /** Classes to take, as "32-123, 256", or null for all. */
    readonly subIndices: string | null;
    /** Whether images keep their own size. */
    readonly originalReso: boolean;
    /** Whether the square is cut out at random; at the center otherwise. */
    readonly randomCrop: boolean;
  };
}

/** Tar shards of images as the reference's pre-training reads them. */
export interface ShardsConfig {
  /** Options, in the reference's extra level. */
  readonly config: {
    /** Width and height in pixels; null for the tokenizer's resolution. */
    readonly size: number | null;
    /** Folders of shards. */
    readonly dataDir: readonly string[];
    /** Endings of the members that are images. */
    readonly imageKey: readonly string[];
    /** Whether images are read at all. */
    readonly enableImage: boolean;
    /** Lists of the members to take. */
    readonly filterPath: readonly string[];
    /** Lists of how many samples a folder has. */
    readonly sampleJsonPath: readonly string[];
    /** List of the shards of LAION-COCO, or null for all. */
    readonly sampleCocoUrls: string | null;
    /** List of the shards of LAION-HD, or null for all. */
    readonly sampleHdUrls: string | null;
  };
}

/** A data set. */
export type DatasetConfig =
  | Instance<"tessera.data.OpenMoji", OpenMojiConfig>
  | Instance<"tessera.data.ImageFolder", ImageFolderConfig>
  | Instance<"tessera.data.Npz", NpzConfig>
  | Instance<"tessera.data.ImageNetTrain", ImageNetConfig>
  | Instance<"tessera.data.ImageNetValidation", ImageNetConfig>
  | Instance<"tessera.data.WebDataset", ShardsConfig>;

/** The images and how they are batched. */
export interface DataModuleConfig {
  /** Images of a batch; "auto" until it is known how many fit. */
  readonly batchSize: number | "auto";
  /** Workers that decode images; null for as many as the machine has use for. */
  readonly numWorkers: number | null;
  /** Folder in which stage II keeps tokens, so that runs share them; null for one of the run's own. */
  readonly tokenCache: string | null;
  /** How stage II sees each training image: once, mirrored too, or in ten crops. */
  readonly tokenViews: TokenViews;
  /** Images for training. */
  readonly train: DatasetConfig;
  /** Images for validation; null for the held-out part of `train`. */
  readonly validation: DatasetConfig | null;
  /** Images for testing; null for those for validation. */
  readonly test: DatasetConfig | null;
}

/** Everything about a run. */
export interface RunConfig<Model extends ModelConfig = ModelConfig> {
  /** Seed of everything random. */
  readonly seedEverything: number;
  /** How long to train and how often to do what. */
  readonly trainer: TrainerConfig;
  /** What is trained. */
  readonly model: Model;
  /** On what. */
  readonly data: Instance<"tessera.data.DataModule", DataModuleConfig>;
  /** Checkpoint of a run to continue, or null. */
  readonly ckptPath: string | null;
}

/** A run of stage I. */
export type TokenizerRunConfig = RunConfig<Instance<"tessera.models.IBQ", TokenizerConfig>>;

/** A run of stage II. */
export type TransformerRunConfig = RunConfig<
  Instance<"tessera.models.ClassConditionalTransformer", TransformerConfig>
>;

/**
 * Tells the runs of stage I.
 *
 * @param config Any run.
 * @returns True if it trains a tokenizer.
 */
export function isTokenizerRun(config: RunConfig): config is TokenizerRunConfig {
  return config.model.target === "tessera.models.IBQ";
}

/**
 * Tells the runs of stage II.
 *
 * @param config Any run.
 * @returns True if it trains a transformer.
 */
export function isTransformerRun(config: RunConfig): config is TransformerRunConfig {
  return config.model.target === "tessera.models.ClassConditionalTransformer";
}

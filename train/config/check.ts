/**
 * Checks what no single key can: sizes that must fit each other.
 *
 * @module
 */
import { configError, type Place } from "./field.ts";
import type {
  EncoderDecoderConfig,
  GptConfig,
  TokenizerConfig,
  TokenizerLossConfig,
} from "./model_types.ts";
import { VGG_CHANNELS } from "./tokenizer_schema.ts";

/** Copies of the codebook that training holds: weights, gradient, two moments of Adam, moving average. */
const CODEBOOK_COPIES = 5;

/** Pixels below which VGG16's last block has nothing left: four halvings. */
const SMALLEST_PERCEPTUAL_SIZE = 16;

/** Bytes that a codebook may take if nobody says otherwise. */
export const DEFAULT_CODEBOOK_BUDGET_BYTES = 8 * 2 ** 30;

/** What the checks need to know beside the configuration. */
export interface CheckOptions {
  /** Where the checked part stands, for messages. */
  readonly place: Place;
  /** Bytes that the codebook, its gradient, moments and average may take in all. */
  readonly codebookBudgetBytes: number;
}

/**
 * Factor between the resolutions of image and token grid.
 *
 * @param ddconfig Encoder and decoder.
 * @returns A power of two.
 */
export function downsamplingFactor(ddconfig: EncoderDecoderConfig): number {
  return 2 ** (ddconfig.chMult.length - 1);
}

function fail(options: CheckOptions, path: string, problem: string): never {
  const { place } = options;
  throw configError(
    { ...place, path: place.path === "" ? path : `${place.path}.${path}` },
    problem,
  );
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
}

function checkEncoder(ddconfig: EncoderDecoderConfig, options: CheckOptions): void {
  const { ch, chMult, numGroups, resolution, inChannels, outCh } = ddconfig;
  // The first convolution gives ch channels whatever the first level has.
  for (const multiple of [1, ...chMult]) {
    if (ch * multiple % numGroups === 0) continue;
    fail(
      options,
      "ddconfig.ch",
      `expected channels that num_groups ${numGroups} divides, found ${ch} x ${multiple} = ${
        ch * multiple
      }`,
    );
  }
  const factor = downsamplingFactor(ddconfig);
  if (resolution % factor !== 0) {
    fail(
      options,
      "ddconfig.resolution",
      `expected a multiple of ${factor}, as ch_mult has ${chMult.length} levels, found ${resolution}`,
    );
  }
  const levels = chMult.length;
  const beyond = ddconfig.checkpointLevels.find((level) => level >= levels);
  if (beyond !== undefined) {
    fail(
      options,
      "ddconfig.checkpoint_levels",
      `expected levels from 0 to ${levels - 1}, as ch_mult has ${levels}, found ${beyond}`,
    );
  }
  if (inChannels !== outCh) {
    fail(options, "ddconfig.out_ch", `expected in_channels, ${inChannels}, found ${outCh}`);
  }
}

/** Side of the discriminator's output: a halving a layer, then two convolutions that each take one pixel. */
function discriminatorSide(resolution: number, layers: number): number {
  return Math.floor(resolution / 2 ** layers) - 2;
}

/**
 * Checks that images of a size leave something for the discriminator and the perceptual network.
 *
 * @param loss The losses.
 * @param ddconfig Channels, and as `resolution` the size of the images.
 * @param options Place and budget.
 * @throws {UserError} If they do not: the message names the key, what was expected and what was found.
 */
export function checkLosses(
  loss: TokenizerLossConfig,
  ddconfig: EncoderDecoderConfig,
  options: CheckOptions,
): void {
  const at = (key: string) => `lossconfig.params.${key}`;
  const { discInChannels, discNumLayers, perceptualWeight, vggWeights, vggWidth } = loss;
  const { outCh, resolution } = ddconfig;
  if (discInChannels !== outCh) {
    fail(options, at("disc_in_channels"), `expected out_ch, ${outCh}, found ${discInChannels}`);
  }
  if (discriminatorSide(resolution, discNumLayers) < 1) {
    fail(
      options,
      at("disc_num_layers"),
      `expected few enough layers for ${resolution} pixels, found ${discNumLayers}, which leave none`,
    );
  }
  if (perceptualWeight > 0 && (outCh !== 3 || resolution < SMALLEST_PERCEPTUAL_SIZE)) {
    fail(
      options,
      at("perceptual_weight"),
      `expected 0 for images other than 3 channels of at least ${SMALLEST_PERCEPTUAL_SIZE} pixels, found ${perceptualWeight}`,
    );
  }
  if (vggWeights !== null && vggWidth.some((count, block) => count !== VGG_CHANNELS[block])) {
    fail(options, at("vgg_width"), `expected 1 with vgg_weights, found [${vggWidth}]`);
  }
}

/**
 * Checks that the sizes of a tokenizer fit each other and its codebook fits the memory.
 *
 * @param config The tokenizer.
 * @param options Place and budget.
 * @throws {UserError} If they do not: the message names the key, what was expected and what was found.
 */
export function checkTokenizer(config: TokenizerConfig, options: CheckOptions): void {
  const { ddconfig, lossconfig, nEmbed, embedDim, schedulerType } = config;
  checkEncoder(ddconfig, options);
  const neededBytes = nEmbed * embedDim * 4 * CODEBOOK_COPIES;
  if (neededBytes > options.codebookBudgetBytes) {
    fail(
      options,
      "n_embed",
      `expected a codebook whose ${CODEBOOK_COPIES} copies in training fit ${
        gibibytes(options.codebookBudgetBytes)
      }, found ${nEmbed} codes of embed_dim ${embedDim}, which need ${gibibytes(neededBytes)}`,
    );
  }
  const drops = config.lrDropEpoch !== null || config.lrDropIter !== null ||
    config.scheType !== null;
  if (schedulerType !== "None" && drops) {
    fail(
      options,
      "scheduler_type",
      `expected None beside lr_drop_epoch, lr_drop_iter or sche_type, found ${schedulerType}, which sets the rate anew at every step`,
    );
  }
  if (lossconfig.target === "tessera.losses.VQLPIPSWithDiscriminator") {
    checkLosses(lossconfig.params, ddconfig, options);
  }
}

/**
 * Checks that the sizes of a transformer fit each other.
 *
 * @param gpt The transformer.
 * @param options Place and budget.
 * @throws {UserError} If they do not: the message names the key, what was expected and what was found.
 */
export function checkGpt(gpt: GptConfig, options: CheckOptions): void {
  const { nEmbd, nHead, nKvHead, condDim, blockSize, ffnDimMultiplier } = gpt;
  if (nEmbd % nHead !== 0) {
    fail(options, "n_head", `expected a divisor of n_embd ${nEmbd}, found ${nHead}`);
  }
  if (nEmbd / nHead % 4 !== 0) {
    fail(
      options,
      "n_head",
      `expected heads whose size 4 divides, as the rotary embedding has pairs of rows and of columns, found ${nEmbd} / ${nHead} = ${
        nEmbd / nHead
      }`,
    );
  }
  if (nKvHead !== null && nHead % nKvHead !== 0) {
    fail(options, "n_kv_head", `expected a divisor of n_head ${nHead}, found ${nKvHead}`);
  }
  if (ffnDimMultiplier !== null && ffnDimMultiplier * Math.floor(8 * nEmbd / 3) < 1) {
    fail(
      options,
      "ffn_dim_multiplier",
      `expected a factor that leaves a channel, found ${ffnDimMultiplier}`,
    );
  }
  if (gpt.checkpointBlocks > gpt.nLayer) {
    fail(
      options,
      "checkpoint_blocks",
      `expected at most n_layer, ${gpt.nLayer}, found ${gpt.checkpointBlocks}`,
    );
  }
  if (condDim !== null && condDim !== nEmbd) {
    fail(
      options,
      "cond_dim",
      `expected n_embd, ${nEmbd}, as the condition is an embedding, found ${condDim}`,
    );
  }
  if (blockSize !== null && !Number.isInteger(Math.sqrt(blockSize))) {
    fail(options, "block_size", `expected a square number of tokens, found ${blockSize}`);
  }
}

/**
 * Checks that a value that follows from something else is that or not given.
 *
 * @param key Key of the value.
 * @param given What the file says; null for nothing.
 * @param derived The value it must be, and of what it is the value.
 * @param options Place and budget.
 * @returns The derived value.
 * @throws {UserError} If the file says another value.
 */
export function checkDerived(
  key: string,
  given: number | null,
  derived: { readonly value: number; readonly of: string },
  options: CheckOptions,
): number {
  if (given !== null && given !== derived.value) {
    fail(options, key, `expected ${derived.of}, ${derived.value}, found ${given}`);
  }
  return derived.value;
}

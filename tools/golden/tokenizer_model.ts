/** Tokenizers from the configurations that come with vectors. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import { Tokenizer, type TokenizerOptions } from "../../models/tokenizer.ts";
import { ModuleContext, type ModuleContextOptions } from "../../nn/module.ts";
import { type JsonObject, numberOf, numbersOf, objectOf } from "./json.ts";

/** Groups of every group norm of the reference's encoder and decoder. */
const GROUPS = 32;
/** Whatever is drawn initially is overwritten by the file's weights. */
const SEED = 0;

/**
 * Reads the sizes of a tokenizer.
 *
 * @param config `ddconfig`, `n_embed`, `embed_dim`, and the losses' weights where they differ from the reference's defaults.
 * @returns The sizes, with the entropies of the quantizer.
 */
export function tokenizerOptions(config: JsonObject): TokenizerOptions {
  const dd = objectOf(config.ddconfig, "ddconfig");
  const size = (key: string): number => numberOf(dd[key], `ddconfig.${key}`);
  return {
    ddconfig: {
      zChannels: size("z_channels"),
      resolution: size("resolution"),
      inChannels: size("in_channels"),
      outCh: size("out_ch"),
      ch: size("ch"),
      chMult: numbersOf(dd.ch_mult, "ddconfig.ch_mult"),
      numResBlocks: size("num_res_blocks"),
      attnResolutions: numbersOf(dd.attn_resolutions, "ddconfig.attn_resolutions"),
      dropout: size("dropout"),
      numGroups: GROUPS,
    },
    nEmbed: numberOf(config.n_embed, "n_embed"),
    embedDim: numberOf(config.embed_dim, "embed_dim"),
    beta: numberOf(config.beta ?? 0.25, "beta"),
    entropyTemperature: numberOf(config.entropy_temperature ?? 0.01, "entropy_temperature"),
    useEntropyLoss: true,
  };
}

/**
 * Makes a tokenizer.
 *
 * @param gpu The device.
 * @param config See {@linkcode tokenizerOptions}.
 * @param options Whether its weights have values.
 * @returns The tokenizer; its weights are random.
 */
export function makeTokenizer(
  gpu: Gpu,
  config: JsonObject,
  options: ModuleContextOptions = {},
): Tokenizer {
  return new Tokenizer(new ModuleContext(gpu, SEED, options), tokenizerOptions(config));
}

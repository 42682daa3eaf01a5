/** Sizes of the smallest models that have every kind of layer, for tests. @module */

import type { TokenizerOptions } from "../models/tokenizer.ts";
import type { TransformerOptions } from "../models/transformer_options.ts";

/** A tokenizer of 8 × 8 pixels, a 4 × 4 grid of 11 codes. */
export const SMALL_TOKENIZER: TokenizerOptions = {
  ddconfig: {
    zChannels: 6,
    resolution: 8,
    inChannels: 3,
    outCh: 3,
    ch: 8,
    chMult: [1, 2],
    numResBlocks: 1,
    attnResolutions: [4],
    dropout: 0,
    numGroups: 4,
  },
  nEmbed: 11,
  embedDim: 5,
};

/** A transformer of 9 tokens of 13 codes. */
export const SMALL_TRANSFORMER: TransformerOptions = {
  vocabSize: 13,
  blockSize: 9,
  nLayer: 2,
  nHead: 2,
  nEmbd: 24,
  classNum: 3,
  multipleOf: 4,
};

/** Sizes and rates of the class-conditional transformer, under the names of the reference's configurations. @module */

/** Sizes and rates of a transformer. */
export interface TransformerOptions {
  /** Number of tokens. */
  readonly vocabSize: number;
  /** Tokens of an image: a square. */
  readonly blockSize: number;
  /** Number of blocks. */
  readonly nLayer: number;
  /** Heads of the queries. */
  readonly nHead: number;
  /** Channels. */
  readonly nEmbd: number;
  /** Number of classes; one more is kept for images without class. */
  readonly classNum: number;
  /** Heads of keys and values; null (default) for as many as of the queries. */
  readonly nKvHead?: number | null;
  /** Channels of the condition; null (default) for `nEmbd`, the only possible value, since the condition is the class embedding. */
  readonly condDim?: number | null;
  /** Dropout behind the attention. Default 0. */
  readonly residDropoutP?: number;
  /** Dropout of the attention's probabilities. Default 0. */
  readonly attnDropoutP?: number;
  /** Dropout behind the feed-forward part. Default 0.1. */
  readonly ffnDropoutP?: number;
  /** Dropout of the embeddings. Default 0.1. */
  readonly tokenDrop?: number;
  /** Probability of leaving out a branch of the last block; it grows linearly from 0 at the first. Default 0. */
  readonly dropPathRate?: number;
  /** Base of the rotary embedding's frequencies. Default 10000. */
  readonly ropeBase?: number;
  /** Added to the mean square in RMS norms. Default 1e-5. */
  readonly normEps?: number;
  /** Factor of the feed-forward part's width, or null (default). */
  readonly ffnDimMultiplier?: number | null;
  /** The feed-forward part's width is rounded up to a multiple of this. Default 256. */
  readonly multipleOf?: number;
  /** Whether all blocks share one map from the condition to scales, shifts and gains. Default false. */
  readonly sharedAln?: boolean;
  /** Factor of the initial gains. Default 1e-3. */
  readonly alng?: number;
  /** Whether token embeddings are made of the tokenizer's codes by a projection. Default false. */
  readonly usePretrainedCodebook?: boolean;
  /** Numbers of such a code. Default 256. */
  readonly nCodebookEmbd?: number;
  /**
   * Blocks, from the first on, that keep only their results for the backward pass and compute the rest again: less memory, more
   * time, the same gradients. Default 0.
   */
  readonly checkpointBlocks?: number;
}

/** {@linkcode TransformerOptions} of which nothing is left open. */
export interface TransformerConfig extends Required<TransformerOptions> {
  /** Heads of keys and values. */
  readonly nKvHead: number;
  /** Channels of the condition: `nEmbd`. */
  readonly condDim: number;
  /** Elements a head. */
  readonly headDim: number;
  /** Width of the feed-forward part. */
  readonly ffnWidth: number;
  /** Rows and columns of the grid of tokens. */
  readonly gridSize: number;
}

/**
 * Fills in what is left open and checks that the sizes fit each other.
 *
 * @param options Sizes and rates.
 * @returns All of them, with what follows from them.
 * @throws {RangeError} If heads, grid or condition do not fit.
 */
export function completeOptions(options: TransformerOptions): TransformerConfig {
  const { nEmbd, nHead, blockSize, ffnDimMultiplier = null, multipleOf = 256 } = options;
  const nKvHead = options.nKvHead ?? nHead;
  const condDim = options.condDim ?? nEmbd;
  const headDim = nEmbd / nHead;
  const gridSize = Math.round(Math.sqrt(blockSize));
  const expect = (holds: boolean, expected: string, found: number): void => {
    if (holds) return;
    throw new RangeError(`Cannot make a transformer: expected ${expected}, found ${found}`);
  };
  expect(Number.isInteger(headDim), `n_head to divide n_embd ${nEmbd}`, nHead);
  expect(headDim % 4 === 0, "heads of a multiple of 4 channels", headDim);
  expect(nHead % nKvHead === 0, `n_kv_head to divide n_head ${nHead}`, nKvHead);
  expect(gridSize ** 2 === blockSize, "block_size to be a square", blockSize);
  expect(condDim === nEmbd, `cond_dim to be n_embd ${nEmbd}`, condDim);
  return {
    residDropoutP: 0,
    attnDropoutP: 0,
    ffnDropoutP: 0.1,
    tokenDrop: 0.1,
    dropPathRate: 0,
    ropeBase: 10000,
    normEps: 1e-5,
    sharedAln: false,
    alng: 1e-3,
    usePretrainedCodebook: false,
    nCodebookEmbd: 256,
    checkpointBlocks: 0,
    ...options,
    nKvHead,
    condDim,
    ffnDimMultiplier,
    multipleOf,
    headDim,
    gridSize,
    ffnWidth: feedForwardWidth({ nEmbd, ffnDimMultiplier, multipleOf }),
  };
}

/** 8/3 of the channels, times the factor, rounded up to a multiple (reference: llama.py, `FeedForward`). */
function feedForwardWidth(
  options: Pick<TransformerConfig, "nEmbd" | "ffnDimMultiplier" | "multipleOf">,
): number {
  const { nEmbd, ffnDimMultiplier, multipleOf } = options;
  const width = Math.floor(2 * 4 * nEmbd / 3);
  const scaled = ffnDimMultiplier === null ? width : Math.floor(ffnDimMultiplier * width);
  return Math.ceil(scaled / multipleOf) * multipleOf;
}

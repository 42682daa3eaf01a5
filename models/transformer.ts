/** The class-conditional transformer of stage II: predicts the tokens of an image one after the other. @module */

import { gelu, silu } from "../nn/activation.ts";
import { cast } from "../nn/cast.ts";
import { dropout, replaceLabels } from "../nn/dropout.ts";
import { Embedding } from "../nn/embedding.ts";
import { linearCrossEntropy } from "../nn/head_loss.ts";
import { Linear } from "../nn/linear.ts";
import { linearNormed, type Rows } from "../nn/linear_fused.ts";
import { reshape } from "../nn/math.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import { rotaryTable } from "../nn/rotary.ts";
import { concat } from "../nn/shape.ts";
import { assertShape, dims, type Parameter, type Tensor } from "../nn/tensor.ts";
import type { ForwardOptions } from "./blocks.ts";
import {
  conditionMap,
  INITIAL_DEVIATION,
  splitModulation,
  TransformerBlock,
} from "./transformer_block.ts";
import { ModulatedNorm } from "./transformer_head.ts";
import {
  completeOptions,
  type TransformerConfig,
  type TransformerOptions,
} from "./transformer_options.ts";

/** Share of the training images whose class is replaced by "no class", as the reference fixes it. */
const LABEL_DROPOUT = 0.1;

/** Two linear maps with GELU between them, from a code to a token embedding: `fc1`, `fc2`. */
class CodeProjection extends Module {
  readonly #fc1: Linear;
  readonly #fc2: Linear;

  constructor(context: ModuleContext, config: TransformerConfig) {
    super();
    const { nCodebookEmbd, nEmbd } = config;
    const shared = {
      outputs: nEmbd,
      initializer: { kind: "normal", standardDeviation: INITIAL_DEVIATION },
      biasInitializer: { kind: "constant", value: 0 },
    } as const;
    this.#fc1 = this.register("fc1", new Linear(context, { ...shared, inputs: nCodebookEmbd }));
    this.#fc2 = this.register("fc2", new Linear(context, { ...shared, inputs: nEmbd }));
  }

  forward(x: Tensor): Tensor {
    return this.#fc2.forward(gelu(this.#fc1.forward(x), { approximate: "tanh" }));
  }
}

/** What the transformer reads. */
export interface TransformerInput {
  /** (batch, n) u32: the first n tokens of each image, n < blockSize. */
  tokens: Tensor;
  /** (batch) u32: class of each image; `classNum` stands for no class. */
  classes: Tensor;
}

/** Options of {@linkcode Transformer.forward}. */
export interface TransformerForwardOptions extends ForwardOptions {
  /** While training: share of the input tokens that are kept; the others become random ones. Default 1. */
  pkeep?: number;
  /** Type of the activations. Default f32. */
  precision?: "f32" | "f16";
}

/**
 * The transformer. Its parameters have the reference's names below `transformer.`.
 *
 * @see SEED-Voken src/IBQ/modules/transformer/llama.py, `GPT`; with `sharedAln` that raises for more than one image, here it works.
 *
 * @example One training step's loss
 * ```ts ignore
 * using tape = new Tape(gpu, { seed, step });
 * const loss = transformer.loss({
 *   tokens: tape.input(tokens, [batch, blockSize - 1]),
 *   classes: tape.input(classes, [batch]),
 *   targets: tape.input(targets, [batch, blockSize]),
 * }, { training: true });
 * ```
 */
export class Transformer extends Module {
  /** Sizes and rates, complete. */
  readonly config: TransformerConfig;
  /** (1 + blockSize, headDim / 2, 2): cosine and sine of each position. Not part of checkpoints. */
  readonly rotaryTable: Parameter;
  /** `blocks.0`, `blocks.1`, …. */
  readonly blocks: readonly TransformerBlock[];
  /** `head_nm`. */
  readonly headNorm: ModulatedNorm;
  readonly #tokenEmbedding: Embedding;
  readonly #codeProjection: CodeProjection | undefined;
  readonly #classEmbedding: Embedding;
  readonly #sharedModulation: Linear | undefined;
  readonly #head: Linear;

  /**
   * Makes a transformer with new weights.
   *
   * @param context Makes the parameters.
   * @param options Sizes and rates.
   * @throws {RangeError} If the sizes do not fit each other.
   */
  constructor(context: ModuleContext, options: TransformerOptions) {
    super();
    const config = completeOptions(options);
    this.config = config;
    const { nEmbd, vocabSize, classNum, usePretrainedCodebook, gridSize, headDim } = config;
    // With a codebook the reference leaves the embeddings as PyTorch draws them, N(0, 1).
    const standardDeviation = usePretrainedCodebook ? 1 : INITIAL_DEVIATION;
    this.#tokenEmbedding = this.register(
      "tok_emb",
      new Embedding(context, {
        rows: vocabSize,
        width: usePretrainedCodebook ? config.nCodebookEmbd : nEmbd,
        standardDeviation,
      }),
    );
    if (usePretrainedCodebook) {
      this.#codeProjection = this.register(
        "embedding_projection",
        new CodeProjection(context, config),
      );
    }
    this.#classEmbedding = this.register(
      "class_emb.embedding_table",
      new Embedding(context, { rows: classNum + 1, width: nEmbd, standardDeviation }),
    );
    this.blocks = Array.from(
      { length: config.nLayer },
      (_, index) =>
        this.register(`blocks.${index}`, new TransformerBlock(context, config, { index })),
    );
    if (config.sharedAln) {
      this.#sharedModulation = this.register(
        "shared_ada_lin.1",
        conditionMap(context, { width: nEmbd, vectors: 6 }),
      );
    }
    this.headNorm = this.register("head_nm", new ModulatedNorm(context, config));
    this.#head = this.register(
      "head",
      new Linear(context, {
        inputs: nEmbd,
        outputs: vocabSize,
        bias: false,
        initializer: { kind: "constant", value: 0 },
      }),
    );
    this.rotaryTable = context.table(
      [1 + config.blockSize, headDim / 2, 2],
      () => rotaryTable({ gridSize, headDim, base: config.ropeBase }),
    );
  }

  /** The table of the token embedding: (vocabSize, nEmbd), or the codebook (vocabSize, nCodebookEmbd). */
  get tokenTable(): Parameter {
    return this.#tokenEmbedding.weight;
  }

  /**
   * Embeds classes.
   *
   * @param classes (batch) u32; `classNum` stands for no class.
   * @param options While training, a share of the classes becomes "no class".
   * @returns (batch, nEmbd).
   */
  embedClasses(classes: Tensor, options: ForwardOptions = {}): Tensor {
    const rate = options.training ? LABEL_DROPOUT : 0;
    return this.#classEmbedding.forward(
      replaceLabels(classes, rate, { value: this.config.classNum }),
    );
  }

  /**
   * Embeds tokens.
   *
   * @param tokens (batch, n) u32.
   * @param precision Type of what is returned, default f32; the table is read as it is.
   * @returns (batch, n, nEmbd).
   */
  embedTokens(tokens: Tensor, precision: "f32" | "f16" = "f32"): Tensor {
    const x = cast(this.#tokenEmbedding.forward(tokens), precision);
    return this.#codeProjection ? this.#codeProjection.forward(x) : x;
  }

  /**
   * Computes what {@linkcode TransformerBlock.modulation} reads.
   *
   * @param classEmbedding (batch, nEmbd).
   * @returns `silu` of it, (batch, nEmbd), for the head and, without `sharedAln`, the blocks; `shared`: (batch, 6 nEmbd) with it.
   */
  conditions(classEmbedding: Tensor): { blocks: Tensor; head: Tensor } {
    const head = silu(classEmbedding);
    return { blocks: this.#sharedModulation ? this.#sharedModulation.forward(head) : head, head };
  }

  /**
   * Projects to logits.
   *
   * @param x (…, nEmbd); or what is normalized first.
   * @returns (…, vocabSize).
   */
  project(x: Rows): Tensor {
    return linearNormed(x, this.#head);
  }

  /**
   * Predicts each token of images from the class and the tokens before it.
   *
   * @param input Classes and tokens.
   * @param options Whether it trains, and in which precision.
   * @returns (batch, 1 + n, vocabSize), f32: logits of the tokens 0 … n.
   * @throws {TypeError} If the shapes do not fit.
   */
  forward(input: TransformerInput, options: TransformerForwardOptions = {}): Tensor {
    return cast(this.project(this.#states(input, options)), "f32");
  }

  /** What {@linkcode Transformer.project} reads: (batch, 1 + n, nEmbd). */
  #states(input: TransformerInput, options: TransformerForwardOptions): Tensor {
    const { batch } = dims(input.tokens, "batch n", "Transformer.forward() tokens");
    assertShape(input.classes, [batch], "Transformer.forward() classes");
    const { training = false, pkeep = 1, precision = "f32" } = options;
    const { vocabSize, tokenDrop, nEmbd, checkpointBlocks } = this.config;
    const { tape } = input.tokens;
    const noise = training ? 1 - pkeep : 0;
    const tokens = replaceLabels(input.tokens, noise, { below: vocabSize });
    const classEmbedding = cast(this.embedClasses(input.classes, { training }), precision);
    const sequence = concat(
      [reshape(classEmbedding, [batch, 1, nEmbd]), this.embedTokens(tokens, precision)],
      { axis: 1 },
    );
    const conditions = this.conditions(classEmbedding);
    const context = { table: this.rotaryTable, training };
    let x = dropout(sequence, training ? tokenDrop : 0);
    for (const [index, block] of this.blocks.entries()) {
      const before = x;
      const run = (): Tensor =>
        block.forward(before, splitModulation(block.modulation(conditions.blocks)), context);
      x = index < checkpointBlocks ? tape.checkpoint(run) : tape.scope(run);
      if (!tape.recording) tape.release(before);
    }
    return this.headNorm.forward(x, this.headNorm.modulation(conditions.head));
  }

  /**
   * Mean cross-entropy of the predicted tokens, in nats. Logits of a large vocabulary are never all in memory.
   *
   * @param input Classes, input tokens, and `targets` (batch, 1 + n) u32: all tokens.
   * @param options Whether it trains, and in which precision.
   * @returns A scalar, f32.
   */
  loss(
    input: TransformerInput & { targets: Tensor },
    options: TransformerForwardOptions = {},
  ): Tensor {
    return linearCrossEntropy(this.#states(input, options), this.#head.weight, input.targets);
  }

  /** Gives every buffer back. */
  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.rotaryTable[Symbol.dispose]();
  }
}

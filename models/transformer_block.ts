/** A block of the transformer: attention and feed-forward part, both modulated by the condition. @module */

import { attention } from "../nn/attention.ts";
import { addGated, addVector, mulVector } from "../nn/broadcast.ts";
import { cast } from "../nn/cast.ts";
import { dropout, dropPath } from "../nn/dropout.ts";
import { cachedAttention, type KvCache } from "../nn/kv_cache.ts";
import { Linear } from "../nn/linear.ts";
import {
  linearGated,
  linearNormed,
  linearSwiglu,
  type Rows,
  sourceOf,
} from "../nn/linear_fused.ts";
import { reshape } from "../nn/math.ts";
import { Module, type ModuleContext } from "../nn/module.ts";
import { splitHeads } from "../nn/rotary.ts";
import { RmsNorm } from "../nn/row_norm.ts";
import { split } from "../nn/shape.ts";
import { Tape } from "../nn/tape.ts";
import { dims, type Operand, type Parameter, type Tensor } from "../nn/tensor.ts";
import type { TransformerConfig } from "./transformer_options.ts";

/** Standard deviation of the initial weights of linear maps and embeddings. */
export const INITIAL_DEVIATION = 0.02;
/** Factor of the initial scales and shifts that a condition makes. */
export const INITIAL_MODULATION = 0.5;

/** What all blocks of a forward pass share. */
export interface BlockContext {
  /** (positions, headDim / 2, 2): cosine and sine of the rotary embedding. */
  table: Operand;
  /** Whether dropout is active. */
  training: boolean;
}

/** Where a block finds the keys and values of earlier tokens. */
export interface CachedContext extends BlockContext {
  /** Keys and values of this block; those of the new token are appended. */
  cache: KvCache;
  /** Position of the new token. */
  position: number;
}

/** A residual connection around a part of a block. */
export interface Connection {
  /** (batch, tokens, nEmbd): what the part's output is added to. */
  base: Tensor;
  /** (batch, nEmbd): gain of the output. */
  gain: Tensor;
  /** Share of the images whose output is left out. */
  dropPath: number;
}

/** The last map of a part of a block, and the connection around it. */
function connect(x: Tensor, map: Linear, connection: Connection, dropped: number): Tensor {
  const { base, gain, dropPath: leftOut } = connection;
  if (dropped === 0 && leftOut === 0) return linearGated(x, map, { residual: base, gate: gain });
  return addGated(base, dropPath(dropout(map.forward(x), dropped), leftOut), gain);
}

/** A linear map without bias whose weight is drawn from N(0, 0.02²). */
function projection(context: ModuleContext, inputs: number, outputs: number): Linear {
  const initializer = { kind: "normal", standardDeviation: INITIAL_DEVIATION } as const;
  return new Linear(context, { inputs, outputs, bias: false, initializer });
}

/**
 * A linear map from the condition to vectors, whose weight is drawn from N(0, 0.02²) and whose bias is 0.
 *
 * @param context Makes the parameters.
 * @param options `width`: channels of the condition and of each vector; `vectors`: how many.
 * @returns The map.
 */
export function conditionMap(
  context: ModuleContext,
  options: { width: number; vectors: number },
): Linear {
  return new Linear(context, {
    inputs: options.width,
    outputs: options.vectors * options.width,
    initializer: { kind: "normal", standardDeviation: INITIAL_DEVIATION },
    biasInitializer: { kind: "constant", value: 0 },
  });
}

/**
 * Multiplies rows of a new parameter, if it has values.
 *
 * @param context Made the parameter.
 * @param parameter The parameter.
 * @param factors Factors of as many equal runs of rows.
 */
export function scaleRows(
  context: ModuleContext,
  parameter: Parameter,
  factors: readonly number[],
): void {
  if (!context.initializes) return;
  using tape = new Tape(parameter.gpu, { record: false });
  const runs = [factors.length, parameter.size / factors.length, 1];
  const vector = cast(
    tape.input(Float32Array.from(factors), [factors.length, 1]),
    parameter.dtype === "f16" ? "f16" : "f32",
  );
  const scaled = mulVector(tape.view(tape.constant(parameter), runs), vector);
  parameter.gpu.copy(scaled.storage, parameter.storage);
}

/** Causal self-attention with rotary positions: `wqkv`, `wo`. */
export class TransformerAttention extends Module {
  /** Weight ((nHead + 2 nKvHead) · headDim, nEmbd): rows of queries, keys, values. */
  readonly wqkv: Linear;
  /** Weight (nEmbd, nEmbd). */
  readonly wo: Linear;
  readonly #config: TransformerConfig;

  /**
   * Makes new weights.
   *
   * @param context Makes the parameters.
   * @param config Sizes and rates.
   */
  constructor(context: ModuleContext, config: TransformerConfig) {
    super();
    const { nEmbd, nHead, nKvHead, headDim } = config;
    this.#config = config;
    const columns = (nHead + 2 * nKvHead) * headDim;
    this.wqkv = this.register("wqkv", projection(context, nEmbd, columns));
    this.wo = this.register("wo", projection(context, nEmbd, nEmbd));
  }

  /**
   * Attends to the tokens up to each one's own.
   *
   * @param x (batch, tokens, nEmbd); or what is normalized first.
   * @param context Positions, training, and earlier tokens where there is a cache.
   * @param connection What the result is added to, and how.
   * @returns Same shape.
   */
  forward(x: Rows, context: BlockContext | CachedContext, connection: Connection): Tensor {
    const { nHead: heads, nKvHead: kvHeads, attnDropoutP, residDropoutP } = this.#config;
    const { batch, tokens, channels } = dims(sourceOf(x), "batch tokens channels", "attention");
    const qkv = linearNormed(x, this.wqkv);
    let mixed: Tensor;
    if ("cache" in context) {
      mixed = cachedAttention(qkv, { ...context, heads });
    } else {
      const { query, key, value } = splitHeads(qkv, context.table, { heads, kvHeads });
      const rate = context.training ? attnDropoutP : 0;
      mixed = attention(query, key, value, { causal: true, dropout: rate });
    }
    const rows = reshape(mixed, [batch, tokens, channels]);
    return connect(rows, this.wo, connection, context.training ? residDropoutP : 0);
  }
}

/** Feed-forward part with a gate: `w2(silu(w1 x) · w3 x)`. */
export class FeedForward extends Module {
  /** Weight (ffnWidth, nEmbd): the gate. */
  readonly w1: Linear;
  /** Weight (ffnWidth, nEmbd). */
  readonly w3: Linear;
  /** Weight (nEmbd, ffnWidth). */
  readonly w2: Linear;
  readonly #dropout: number;

  /**
   * Makes new weights.
   *
   * @param context Makes the parameters.
   * @param config Sizes and rates.
   */
  constructor(context: ModuleContext, config: TransformerConfig) {
    super();
    const { nEmbd, ffnWidth, ffnDropoutP } = config;
    this.#dropout = ffnDropoutP;
    this.w1 = this.register("w1", projection(context, nEmbd, ffnWidth));
    this.w3 = this.register("w3", projection(context, nEmbd, ffnWidth));
    this.w2 = this.register("w2", projection(context, ffnWidth, nEmbd));
  }

  /**
   * Maps each token by itself.
   *
   * @param x (batch, tokens, nEmbd); or what is normalized first.
   * @param options Whether dropout is active.
   * @param connection What the result is added to, and how.
   * @returns Same shape.
   */
  forward(x: Rows, options: { training: boolean }, connection: Connection): Tensor {
    const gated = linearSwiglu(x, { gate: this.w1.weight, weight: this.w3.weight });
    return connect(gated, this.w2, connection, options.training ? this.#dropout : 0);
  }
}

/** What a condition does to a block; each (batch, nEmbd). */
export interface BlockModulation {
  /** Gain of the attention. */
  gamma1: Tensor;
  /** Gain of the feed-forward part. */
  gamma2: Tensor;
  /** Scale, less 1, of the attention's input. */
  scale1: Tensor;
  /** Scale, less 1, of the feed-forward part's input. */
  scale2: Tensor;
  /** Shift of the attention's input. */
  shift1: Tensor;
  /** Shift of the feed-forward part's input. */
  shift2: Tensor;
}

/**
 * Cuts the vectors of a block's modulation apart.
 *
 * @param vectors (batch, 6 nEmbd), as {@linkcode TransformerBlock.modulation} makes them.
 * @returns The six vectors.
 */
export function splitModulation(vectors: Tensor): BlockModulation {
  const d = vectors.shape[1]! / 6;
  const [gamma1, gamma2, scale1, scale2, shift1, shift2] = split(vectors, [d, d, d, d, d, d]);
  return { gamma1, gamma2, scale1, scale2, shift1, shift2 };
}

/**
 * A block: `h = x + gamma1 attention(norm(x) (1 + scale1) + shift1)`, then the same with the feed-forward part.
 *
 * @see SEED-Voken src/IBQ/modules/transformer/llama.py, `Block`; Peebles & Xie 2023, arXiv:2212.09748.
 */
export class TransformerBlock extends Module {
  /** `attention`. */
  readonly attention: TransformerAttention;
  /** `feed_forward`. */
  readonly feedForward: FeedForward;
  /** `attention_norm`. */
  readonly attentionNorm: RmsNorm;
  /** `ffn_norm`. */
  readonly ffnNorm: RmsNorm;
  /** `ada_gss`, (1, 1, 6, nEmbd): what this block adds to the shared modulation. */
  readonly #ownModulation: Parameter | undefined;
  /** `ada_lin.1`: this block's own map from the condition. */
  readonly #modulationMap: Linear | undefined;
  readonly #dropPath: number;

  /**
   * Makes new weights.
   *
   * @param context Makes the parameters.
   * @param config Sizes and rates.
   * @param options `index`: number of the block; later ones are left out more often.
   */
  constructor(context: ModuleContext, config: TransformerConfig, options: { index: number }) {
    super();
    const { nEmbd, normEps: eps, nLayer, dropPathRate, alng } = config;
    this.#dropPath = nLayer === 1 ? 0 : dropPathRate * options.index / (nLayer - 1);
    this.attention = this.register("attention", new TransformerAttention(context, config));
    this.feedForward = this.register("feed_forward", new FeedForward(context, config));
    this.attentionNorm = this.register(
      "attention_norm",
      new RmsNorm(context, { width: nEmbd, eps }),
    );
    this.ffnNorm = this.register("ffn_norm", new RmsNorm(context, { width: nEmbd, eps }));
    const factors = [alng, alng, ...Array<number>(4).fill(INITIAL_MODULATION)];
    if (config.sharedAln) {
      const initializer = { kind: "normal", standardDeviation: nEmbd ** -0.5 } as const;
      const vectors = context.parameter([1, 1, 6, nEmbd], initializer);
      scaleRows(context, vectors, factors);
      this.#ownModulation = this.register("ada_gss", vectors);
    } else {
      const map = conditionMap(context, { width: nEmbd, vectors: 6 });
      scaleRows(context, map.weight, factors);
      this.#modulationMap = this.register("ada_lin.1", map);
    }
  }

  /**
   * Computes what a condition does to this block.
   *
   * @param condition silu of the class embedding (batch, nEmbd); with `sharedAln` the shared vectors (batch, 6 nEmbd).
   * @returns (batch, 6 nEmbd): gamma1, gamma2, scale1, scale2, shift1, shift2.
   */
  modulation(condition: Tensor): Tensor {
    const own = this.#ownModulation;
    if (!own) return this.#modulationMap!.forward(condition);
    const { tape } = condition;
    // The parameter itself as a flat vector of the condition's type, so that its gradient arrives.
    const vector = tape.record(
      "reshape",
      tape.view(tape.constant(tape.narrow(own, condition.dtype)), [own.size]),
      [own],
      (dy) => [cast(tape.view(dy, own.shape), own.dtype)],
    );
    return addVector(condition, vector);
  }

  /**
   * Applies attention and feed-forward part, each around a residual connection.
   *
   * @param x (batch, tokens, nEmbd).
   * @param modulation What the condition does.
   * @param context Positions, training, cache.
   * @returns Same shape.
   */
  forward(
    x: Tensor,
    modulation: BlockModulation,
    context: BlockContext | CachedContext,
  ): Tensor {
    const { gamma1, gamma2, scale1, scale2, shift1, shift2 } = modulation;
    const rate = context.training ? this.#dropPath : 0;
    const h = this.attention.forward(
      { rows: x, norm: this.attentionNorm, modulation: { scale: scale1, shift: shift1 } },
      context,
      { base: x, gain: gamma1, dropPath: rate },
    );
    return this.feedForward.forward(
      { rows: h, norm: this.ffnNorm, modulation: { scale: scale2, shift: shift2 } },
      context,
      { base: h, gain: gamma2, dropPath: rate },
    );
  }
}

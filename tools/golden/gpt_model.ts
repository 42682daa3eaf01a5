/** Transformers from the configurations that come with vectors. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import { Transformer } from "../../models/transformer.ts";
import type { TransformerOptions } from "../../models/transformer_options.ts";
import { ModuleContext, type ModuleContextOptions } from "../../nn/module.ts";
import type { Tape } from "../../nn/tape.ts";
import type { Tensor } from "../../nn/tensor.ts";
import { type JsonObject, numberOf } from "./json.ts";
import type { VectorFile } from "./vectors.ts";

/** Whatever is drawn initially is overwritten by the file's weights. */
const SEED = 0;

/**
 * Makes a transformer.
 *
 * @param gpu The device.
 * @param config The arguments of the reference's constructor.
 * @param contextOptions Whether its weights have values.
 * @returns The transformer; its weights are random.
 */
export function makeTransformer(
  gpu: Gpu,
  config: JsonObject,
  contextOptions: ModuleContextOptions = {},
): Transformer {
  const size = (key: string): number => numberOf(config[key], key);
  const rate = (key: string): number => numberOf(config[key] ?? 0, key);
  const options: TransformerOptions = {
    vocabSize: size("vocab_size"),
    blockSize: size("block_size"),
    nLayer: size("n_layer"),
    nHead: size("n_head"),
    nEmbd: size("n_embd"),
    condDim: size("cond_dim"),
    classNum: size("class_num"),
    ...("multiple_of" in config ? { multipleOf: size("multiple_of") } : {}),
    nKvHead: "n_kv_head" in config ? size("n_kv_head") : null,
    residDropoutP: rate("resid_dropout_p"),
    attnDropoutP: rate("attn_dropout_p"),
    ffnDropoutP: rate("ffn_dropout_p"),
    tokenDrop: rate("token_drop"),
    dropPathRate: rate("drop_path_rate"),
    sharedAln: config.shared_aln === true,
    usePretrainedCodebook: config.use_pretrained_codebook === true,
    ...("n_codebook_embd" in config ? { nCodebookEmbd: size("n_codebook_embd") } : {}),
  };
  return new Transformer(new ModuleContext(gpu, SEED, contextOptions), options);
}

/** Images as tokens, and what a transformer reads of them. */
export interface TokenBatch {
  /** (batch, tokens - 1): all but the last tokens. */
  tokens: Tensor;
  /** (batch). */
  classes: Tensor;
  /** (batch, tokens): all tokens. */
  targets: Tensor;
}

/**
 * Reads `tokens` and `classes`.
 *
 * @param tape Their owner.
 * @param file The file.
 * @param options `prefix` of both names; `classes`: other classes than the file's.
 * @returns The transformer's inputs.
 */
export async function tokenBatch(
  tape: Tape,
  file: VectorFile,
  options: { prefix?: string; classes?: Uint32Array } = {},
): Promise<TokenBatch> {
  const { prefix = "" } = options;
  const targets = await file.indices(`${prefix}tokens`);
  const classes = options.classes ?? await file.indices(`${prefix}classes`);
  const [batch = 1, length = 1] = file.shape(`${prefix}tokens`);
  const inputs = targets.filter((_, i) => i % length < length - 1);
  return {
    tokens: tape.input(inputs, [batch, length - 1]),
    classes: tape.input(classes, [batch]),
    targets: tape.input(targets, [batch, length]),
  };
}

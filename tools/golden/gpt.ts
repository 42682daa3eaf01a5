/** Checks `gpt.safetensors`: logits, gradients and values inside the transformer, and its variants. @module */

import { type Connection, splitModulation } from "../../models/transformer_block.ts";
import type { Transformer } from "../../models/transformer.ts";
import { countParameters } from "../../models/weights.ts";
import { addGated, modulate } from "../../nn/broadcast.ts";
import { reshape } from "../../nn/math.ts";
import { splitHeads } from "../../nn/rotary.ts";
import { concat } from "../../nn/shape.ts";
import { Tape } from "../../nn/tape.ts";
import type { Tensor } from "../../nn/tensor.ts";
import { type CheckContext, loadState } from "./file_check.ts";
import { makeTransformer, tokenBatch } from "./gpt_model.ts";
import { checkSampling } from "./gpt_sampling.ts";
import { numberOf, objectOf } from "./json.ts";
import { compareTensor, upload } from "./layout.ts";

/** A connection that hands on the output of a block's part as it is. */
function unconnected(x: Tensor): Connection {
  const [batch = 1, , channels = 1] = x.shape;
  return {
    base: x.tape.input(new Float32Array(x.size), x.shape),
    gain: x.tape.input(new Float32Array(batch * channels).fill(1), [batch, channels]),
    dropPath: 0,
  };
}

/** The training forward pass and its gradients. */
async function checkLoss({ gpu, file }: CheckContext, model: Transformer): Promise<void> {
  using tape = new Tape(gpu);
  const loss = model.loss(await tokenBatch(tape, file));
  await compareTensor(file, loss, { name: "loss" });
  const gradients = tape.grad(loss, model.trainableParameters());
  for (const [name, parameter] of model.namedParameters()) {
    const found = gradients.get(parameter);
    await compareTensor(file, found, { name: `grad.${name}`, group: "grad" });
  }
}

/** Values inside the first block and the head. */
async function checkInside({ gpu, file }: CheckContext, model: Transformer): Promise<void> {
  using tape = new Tape(gpu);
  const { tokens, classes } = await tokenBatch(tape, file);
  const compare = (name: string, x: Tensor): Promise<void> =>
    compareTensor(file, x, { name: `mid.${name}`, group: "mid" });
  const { nHead: heads, nKvHead: kvHeads } = model.config;
  const [block] = model.blocks;
  if (!block) throw new RangeError("Cannot check a transformer: expected a block, found none");
  const context = { table: model.rotaryTable, training: false };

  const condition = model.embedClasses(classes);
  const [batch = 1, width = 1] = condition.shape;
  const h = concat([reshape(condition, [batch, 1, width]), model.embedTokens(tokens)], { axis: 1 });
  const conditions = model.conditions(condition);
  const vectors = block.modulation(conditions.blocks);
  const modulation = splitModulation(vectors);
  const { gamma1, scale1, shift1, scale2, shift2 } = modulation;
  const normalized = block.attentionNorm.forward(h);
  const modulated = modulate(normalized, { scale: scale1, shift: shift1 });
  const qkv = block.attention.wqkv.forward(modulated);
  const { query, key } = splitHeads(qkv, model.rotaryTable, { heads, kvHeads });
  const attended = block.attention.forward(modulated, context, unconnected(h));
  const h1 = addGated(h, attended, gamma1);
  const ffnIn = modulate(block.ffnNorm.forward(h1), { scale: scale2, shift: shift2 });

  await file.compare("mid.freqs_cis_all", await model.rotaryTable.read(), { group: "mid" });
  await compare("cond", condition);
  await compare("ada6", vectors);
  await compare("attn_norm", normalized);
  await compare("modulated", modulated);
  await compare("q_rope", query);
  await compare("k_rope", key);
  await compare("attn_out", attended);
  await compare("h1", h1);
  await compare("ffn_in", ffnIn);
  await compare("ffn_out", block.feedForward.forward(ffnIn, context, unconnected(h)));
  await compare("block0_out", block.forward(h, modulation, context));

  const head = model.headNorm.modulation(conditions.head);
  const last = model.blocks.reduce(
    (x, each) => each.forward(x, splitModulation(each.modulation(conditions.blocks)), context),
    h,
  );
  await compare("head_scale", head.scale);
  await compare("head_shift", head.shift);
  await compare("head_in", model.headNorm.forward(last, head));
}

/** Class embeddings of which every second one is replaced by "no class". */
async function checkLabelDropout({ gpu, file }: CheckContext, model: Transformer): Promise<void> {
  using tape = new Tape(gpu);
  const { classNum } = model.config;
  const classes = await file.indices("classes");
  const dropped = classes.map((label, i) => i % 2 === 1 ? classNum : label);
  const embedded = model.embedClasses(tape.input(dropped, [dropped.length]));
  await compareTensor(file, embedded, { name: "class_emb_forced_drop" });
}

/** Logits of a variant with weights and tokens of its own. */
async function checkVariant({ gpu, file }: CheckContext, name: string): Promise<void> {
  using model = makeTransformer(gpu, objectOf(file.config[name], name));
  await loadState(model, file, { prefix: `${name}.state.`, group: name });
  using tape = new Tape(gpu, { record: false });
  const logits = model.forward(await tokenBatch(tape, file, { prefix: `${name}.` }));
  await compareTensor(file, logits, { name: `${name}.logits`, group: name });
}

/** One block whose modulation comes from a map that all blocks share; the reference can run no more than that. */
async function checkSharedModulation({ gpu, file }: CheckContext): Promise<void> {
  const group = "shared_aln";
  using model = makeTransformer(gpu, objectOf(file.config[group], group));
  await loadState(model, file, { prefix: `${group}.state.`, group, partial: true });
  using tape = new Tape(gpu, { record: false });
  const h = await upload(tape, file, { name: `${group}.h` });
  const condition = await upload(tape, file, { name: `${group}.cond` });
  const [batch = 1, , width = 1] = h.shape;
  const shared = model.conditions(tape.view(condition, [batch, width])).blocks;
  await compareTensor(file, shared, { name: `${group}.cond6`, group });
  const [block] = model.blocks;
  const out = block?.forward(h, splitModulation(block.modulation(shared)), {
    table: model.rotaryTable,
    training: false,
  });
  await compareTensor(file, out, { name: `${group}.block_out`, group });
}

/**
 * Compares everything in the file.
 *
 * @param context Device and file.
 */
export async function checkGpt(context: CheckContext): Promise<void> {
  const { gpu, file } = context;
  {
    using model = makeTransformer(gpu, objectOf(file.config.gpt, "gpt"));
    await loadState(model, file, { prefix: "state.", group: "state" });
    const expected = numberOf(file.config.params, "params");
    file.check("parameter count", Math.abs(countParameters(model) - expected), 0);
    await checkLoss(context, model);
    await checkInside(context, model);
    await checkLabelDropout(context, model);
    await checkSampling(context, model);
  }
  await checkVariant(context, "gqa");
  await checkVariant(context, "codebook");
  await checkSharedModulation(context);
}

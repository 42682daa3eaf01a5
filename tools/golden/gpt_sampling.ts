/** Checks the sampling part of `gpt.safetensors`: caches, guidance, filters and greedy sequences. @module */

import { type GenerateOptions, generateTokens } from "../../models/sampler.ts";
import { TokenPredictor } from "../../models/token_predictor.ts";
import type { Transformer } from "../../models/transformer.ts";
import { filterLogits, guideLogits } from "../../nn/sampling.ts";
import { concat } from "../../nn/shape.ts";
import { Tape } from "../../nn/tape.ts";
import { largestDifference } from "./difference.ts";
import type { CheckContext } from "./file_check.ts";
import { tokenBatch } from "./gpt_model.ts";
import { type JsonObject, numberOf, objectOf } from "./json.ts";
import { compareTensor, upload } from "./layout.ts";
import { topMargins } from "./margin.ts";

/** How far logits by cache may be from those of the full forward pass. */
const CACHE_TOLERANCE = 1e-5;

/** Logits with the class, without it, and guided by both. */
async function checkLogits(
  { gpu, file }: CheckContext,
  model: Transformer,
): Promise<Float32Array> {
  using tape = new Tape(gpu, { record: false });
  const { classNum, vocabSize } = model.config;
  const nobody = (await file.indices("classes")).map(() => classNum);
  const logits = model.forward(await tokenBatch(tape, file));
  const without = model.forward(await tokenBatch(tape, file, { classes: nobody }));
  await compareTensor(file, logits, { name: "logits" });
  await compareTensor(file, without, { name: "logits_null" });
  const rows = [logits.size / vocabSize, 1, vocabSize];
  const pairs = concat([tape.view(logits, rows), tape.view(without, rows)], { axis: 1 });
  const prefix = "cfg_logits_";
  for (const name of file.names(prefix)) {
    const guided = guideLogits(pairs, { guidance: Number(name.slice(prefix.length)) });
    await compareTensor(file, guided, { name, group: "cfg_logits" });
  }
  return await logits.read();
}

/** Logits token by token, which must equal those of the full forward pass, and the cache at the end. */
async function checkCache(
  { gpu, file }: CheckContext,
  model: Transformer,
  full: Float32Array,
): Promise<void> {
  using tape = new Tape(gpu, { record: false });
  const { vocabSize } = model.config;
  const tokens = await file.indices("tokens");
  const [batch = 1, length = 1] = file.shape("tokens");
  using predictor = new TokenPredictor(model, tape.input(await file.indices("classes"), [batch]));
  const logits = new Float32Array(tokens.length * vocabSize);
  for (let position = 0; position < length; position++) {
    const previous = tokens.filter((_, i) => i % length === position - 1);
    const step = position === 0 ? predictor.next() : predictor.next(tape.input(previous, [batch]));
    const rows = await step.read();
    for (let image = 0; image < batch; image++) {
      const row = rows.subarray(image * vocabSize, (image + 1) * vocabSize);
      logits.set(row, (image * length + position) * vocabSize);
    }
  }
  await file.compare("kv_logits", logits);
  file.check("kv_logits equal the full forward", largestDifference(logits, full), CACHE_TOLERANCE);
  const [cache] = predictor.caches;
  if (!cache) throw new RangeError("Cannot check a cache: expected one a block, found none");
  for (const [name, values] of Object.entries({ k: cache.key, v: cache.value })) {
    await file.compare(`kv_cache_block0.${name}`, await values.read(), {
      group: "kv_cache_block0",
    });
  }
}

function filterOf(config: JsonObject): { topK: number; topP: number } {
  return { topK: numberOf(config.top_k, "top_k"), topP: numberOf(config.top_p, "top_p") };
}

/**
 * Moves what is kept of equal logits to the first of them. Which of them a filter keeps is arbitrary in the reference, whose sort is
 * not stable, so only their number can be compared.
 */
function settleTies(
  filtered: Float32Array,
  logits: Float32Array,
  vocabulary: number,
): Float32Array {
  const settled = new Float32Array(filtered.length);
  for (let start = 0; start < logits.length; start += vocabulary) {
    const equals = Map.groupBy(
      logits.subarray(start, start + vocabulary).keys(),
      (i) => logits[start + i],
    );
    for (const places of equals.values()) {
      const kept = Float32Array.from(places, (i) => filtered[start + i] ?? NaN).sort().reverse();
      for (const [rank, i] of places.entries()) settled[start + i] = kept[rank] ?? NaN;
    }
  }
  return settled;
}

async function checkFilters({ gpu, file }: CheckContext): Promise<void> {
  using tape = new Tape(gpu, { record: false });
  const group = "filter";
  const logits = await upload(tape, file, { name: "filter.in" });
  const values = await file.input("filter.in");
  const vocabulary = logits.shape[1] ?? 1;
  const settle = (filtered: Float32Array): Float32Array => settleTies(filtered, values, vocabulary);
  for (const [name, config] of Object.entries(objectOf(file.config.filters, "filters"))) {
    const filtered = filterLogits(logits, filterOf(objectOf(config, name)));
    await file.compare(`filter.${name}`, settle(await filtered.read()), {
      group,
      transform: settle,
    });
  }
}

/** Sequences of most probable tokens, with and without guidance. */
async function checkGreedy({ gpu, file }: CheckContext, model: Transformer): Promise<void> {
  const group = "greedy";
  const classes = [...await file.indices("classes")];
  const generate = (options: Partial<GenerateOptions>): Promise<Uint32Array> =>
    generateTokens(model, { classes, seeds: classes.map(() => 0), greedy: true, ...options });
  for (const [name, value] of Object.entries(objectOf(file.config.greedy, "greedy"))) {
    const config = objectOf(value, name);
    const tokens = await generate({
      ...filterOf(config),
      guidance: numberOf(config.cfg_scale, "cfg_scale"),
      temperature: numberOf(config.temperature, "temperature"),
    });
    await file.compare(`greedy.${name}`, tokens, { group });
  }
  const tokens = await generate({});
  await file.compare("greedy.no_cfg", tokens, { group });
  const [batch = 1, length = 1] = file.shape("greedy.no_cfg");
  using tape = new Tape(gpu, { record: false });
  const logits = model.forward({
    tokens: tape.input(tokens.filter((_, i) => i % length < length - 1), [batch, length - 1]),
    classes: tape.input(Uint32Array.from(classes), [batch]),
  });
  await file.compare("greedy.no_cfg_margin", await topMargins(logits), {
    group: "greedy.no_cfg_margin",
  });
}

/**
 * Compares caches, guidance, filters and greedy sequences.
 *
 * @param context Device and file.
 * @param model The transformer with the file's weights.
 */
export async function checkSampling(context: CheckContext, model: Transformer): Promise<void> {
  const full = await checkLogits(context, model);
  await checkCache(context, model, full);
  await checkFilters(context);
  await checkGreedy(context, model);
}

/** Checks `official_gpt_<size>.safetensors`: the transformer on one image's tokens at an official size. @module */

import { hashedUniform } from "../../models/hashed_uniform.ts";
import type { Transformer } from "../../models/transformer.ts";
import { Tape } from "../../nn/tape.ts";
import type { CheckContext } from "./file_check.ts";
import { makeTransformer } from "./gpt_model.ts";
import { numberOf } from "./json.ts";
import {
  compareFingerprint,
  compareSamples,
  OFFICIAL_TOLERANCE,
  relativeDistance,
} from "./official_compare.ts";
import { writeHashedWeights } from "./official_weights.ts";
import type { VectorFile } from "./vectors.ts";

/** Variance of the layers' outputs, by the formula of the weights. */
const GAIN = 1.5;
/** Another token may be the likeliest where the two largest logits are closer than this share of the largest. */
const TIE_SHARE = 1e-3;

/** Hashed tokens of an image. */
function hashedTokens(name: string, count: number, file: VectorFile): Uint32Array {
  const uniform = hashedUniform(name, numberOf(file.config.salt, "salt"));
  const vocabulary = numberOf(file.config.vocab_size, "vocab_size");
  return Uint32Array.from({ length: count }, (_, i) => Math.floor(uniform(i) * vocabulary));
}

/** The likeliest token at each position is the reference's, but where two are nearly tied. */
async function compareLikeliest(file: VectorFile, logits: Float32Array): Promise<void> {
  const name = "logits.argmax";
  const expected = await file.indices(name);
  const vocabulary = logits.length / expected.length;
  file.check(name, 0, TIE_SHARE);
  for (const [position, index] of expected.entries()) {
    const row = logits.subarray(position * vocabulary, (position + 1) * vocabulary);
    const largest = row.reduce((most, logit) => Math.max(most, logit), -Infinity);
    const margin = (largest - (row[index] ?? NaN)) / Math.abs(largest);
    file.check(name, Number.isNaN(margin) ? Infinity : margin, TIE_SHARE);
  }
}

/** Logits with one class for all images. */
async function logitsOf(
  model: Transformer,
  tokens: Uint32Array,
  classId: number,
): Promise<Float32Array> {
  using tape = new Tape(model.rotaryTable.gpu, { record: false });
  return await model.forward({
    tokens: tape.input(tokens, [1, tokens.length]),
    classes: tape.input(Uint32Array.of(classId), [1]),
  }).read();
}

/**
 * Compares everything in the file.
 *
 * @param context Device and file.
 */
export async function checkOfficialGpt({ gpu, file }: CheckContext): Promise<void> {
  using model = makeTransformer(gpu, file.config, { initialize: false });
  writeHashedWeights(model, { salt: numberOf(file.config.salt, "salt"), gain: GAIN });
  const { blockSize, classNum } = model.config;
  const tokens = hashedTokens("tokens", blockSize - 1, file);
  const classes = await file.indices("class_id");

  const logits = await logitsOf(model, tokens, classes[0]!);
  await compareSamples(file, "logits", logits);
  await compareFingerprint(file, "logits", logits);
  await compareLikeliest(file, logits);

  using tape = new Tape(gpu, { record: false });
  const targets = Uint32Array.of(...tokens, ...hashedTokens("target", 1, file));
  const loss = await model.loss({
    tokens: tape.input(tokens, [1, tokens.length]),
    classes: tape.input(classes, [1]),
    targets: tape.input(targets, [1, targets.length]),
  }).read();
  file.check("loss", relativeDistance(loss, await file.input("loss")), OFFICIAL_TOLERANCE);

  await compareSamples(file, "null_logits", await logitsOf(model, tokens, classNum));
}

/** Checks `quantizer.safetensors`: codes, losses and gradients of the IBQ quantizer and of the plain VQ baseline. @module */

import { add, mul } from "../../nn/math.ts";
import { matmul } from "../../nn/matmul.ts";
import { codebookEntries, quantize } from "../../nn/quantizer.ts";
import { sum } from "../../nn/reduce.ts";
import { softmax } from "../../nn/softmax.ts";
import { Tape } from "../../nn/tape.ts";
import type { Tensor } from "../../nn/tensor.ts";
import { vectorQuantize } from "../../nn/vector_quantizer.ts";
import type { CheckContext } from "./file_check.ts";
import { type JsonObject, numberOf, objectOf } from "./json.ts";
import { compareTensor, IMAGE, upload } from "./layout.ts";
import { topMargins } from "./margin.ts";

/** Logits closer than this are one probability in float32, so the lower index may win. */
const TIE = 6e-8;

/** The tokens of a case: rows, and the shape that they have as an image. */
interface Tokens {
  rows: Tensor;
  imageShape: readonly number[];
  codebook: Tensor;
}

async function uploadTokens(tape: Tape, context: CheckContext, name: string): Promise<Tokens> {
  const { file } = context;
  const codebook = await upload(tape, file, { name: `${name}.embedding` });
  const image = await upload(tape, file, { name: `${name}.z`, order: IMAGE });
  const rows = tape.view(image, [image.size / (codebook.shape[1] ?? 1), codebook.shape[1] ?? 1]);
  return { rows, imageShape: image.shape, codebook };
}

async function checkCase(
  context: CheckContext,
  name: string,
  config: JsonObject,
): Promise<void> {
  const { gpu, file } = context;
  const setting = (key: string): number => numberOf(config[key], `${name}.${key}`);
  using tape = new Tape(gpu);
  const { rows, imageShape, codebook } = await uploadTokens(tape, context, name);
  const group = `${name} values`;
  const compareImage = (tensor: string, x: Tensor | undefined, line = group): Promise<void> =>
    compareTensor(file, x && tape.view(x, [...imageShape.slice(0, 3), x.shape.at(-1) ?? 1]), {
      name: `${name}.${tensor}`,
      order: IMAGE,
      group: line,
    });
  const compareRows = (tensor: string, x: Tensor | undefined, line = group): Promise<void> =>
    compareTensor(file, x, { name: `${name}.${tensor}`, group: line });

  const logits = matmul(rows, codebook, { transposeB: true });
  if (file.has(`${name}.logits`)) {
    await compareImage("logits", logits);
    await compareImage("probs", softmax(logits));
  }
  await file.compare(`${name}.argmax_margin`, await topMargins(logits), { group });

  const result = quantize(rows, codebook, {
    beta: setting("beta"),
    useEntropyLoss: true,
    entropyTemperature: setting("entropy_temperature"),
    sampleMinimizationWeight: setting("sample_minimization_weight"),
    batchMaximizationWeight: setting("batch_maximization_weight"),
  });
  const { zq, indices, quantLoss, entropyLoss, sampleEntropy, averageEntropy } = result;
  await compareRows("indices", indices, `${name} indices`);
  await compareImage("z_q", zq);
  await compareImage("z_q_hard", codebookEntries(indices, codebook));
  await compareRows("avg_probs_T", result.averageProbabilities);
  await compareRows("quant_loss", quantLoss);
  await compareRows("sample_entropy", sampleEntropy);
  await compareRows("avg_entropy", averageEntropy);
  await compareRows("entropy_loss", entropyLoss);

  if (!entropyLoss) throw new TypeError("Cannot check the entropy loss: expected one, found none");
  const gout = await upload(tape, file, { name: `${name}.gout`, order: IMAGE });
  const straightThrough = sum(mul(zq, tape.view(gout, zq.shape)));
  const total = add(add(straightThrough, quantLoss), entropyLoss, {
    beta: setting("entropy_loss_factor_in_total"),
  });
  const losses = { zq: straightThrough, quant: quantLoss, entropy: entropyLoss, total };
  for (const [kind, loss] of Object.entries(losses)) {
    const gradients = tape.grad(loss, [rows, codebook]);
    const line = `${name} grad_${kind}`;
    await compareImage(`grad_${kind}.z`, gradients.get(rows), line);
    const tensor = `grad_${kind}.embedding`;
    // Files leave the codebook's gradient out where it is large.
    if (file.has(`${name}.${tensor}`)) await compareRows(tensor, gradients.get(codebook), line);
  }
}

/** Two codes whose probabilities tie in float32: either index is right, a third one is not. */
async function checkTie(context: CheckContext, name: string): Promise<void> {
  using tape = new Tape(context.gpu, { record: false });
  const { rows, codebook } = await uploadTokens(tape, context, name);
  const logits = await matmul(rows, codebook, { transposeB: true }).read();
  const indices = await quantize(rows, codebook).indices.readIndices();
  const codes = codebook.shape[0] ?? 1;
  for (const [row, index] of indices.entries()) {
    const of = logits.subarray(row * codes, (row + 1) * codes);
    context.file.check(name, Math.max(...of) - (of[index] ?? -Infinity), TIE);
  }
}

/**
 * Compares every case of the file. What kind a case is follows from its configuration.
 *
 * @param context Device and file.
 */
export async function checkQuantizer(context: CheckContext): Promise<void> {
  for (const [name, value] of Object.entries(context.file.config)) {
    const config = objectOf(value, name);
    if ("entropy_temperature" in config) await checkCase(context, name, config);
    else if ("l2_normalize" in config) await checkBaseline(context, name, config);
    else await checkTie(context, name);
  }
}

/** The plain VQ quantizer: nearest code, straight-through to z, no gradient of z_q to the codes. */
async function checkBaseline(
  context: CheckContext,
  name: string,
  config: JsonObject,
): Promise<void> {
  const { gpu, file } = context;
  using tape = new Tape(gpu);
  const { rows, imageShape, codebook } = await uploadTokens(tape, context, name);
  const { zq, indices, quantLoss: loss } = vectorQuantize(rows, codebook, {
    beta: numberOf(config.beta, `${name}.beta`),
    legacy: config.legacy === true,
    l2Normalize: config.l2_normalize === true,
  });

  const image = { order: IMAGE, group: name };
  await compareTensor(file, indices, { name: `${name}.indices`, group: name });
  await compareTensor(file, tape.view(zq, imageShape), { ...image, name: `${name}.z_q` });
  await compareTensor(file, loss, { name: `${name}.loss`, group: name });
  const gout = await upload(tape, file, { name: `${name}.gout`, order: IMAGE });
  const total = add(sum(mul(zq, tape.view(gout, zq.shape))), loss);
  const gradients = tape.grad(total, [rows, codebook]);
  const dz = gradients.get(rows);
  await compareTensor(file, dz && tape.view(dz, imageShape), {
    ...image,
    name: `${name}.grad_total.z`,
  });
  await compareTensor(file, gradients.get(codebook), {
    name: `${name}.grad_total.embedding`,
    group: name,
  });
}

/** Checks `gan_step.safetensors`: whole training steps of stage I, and the losses in other situations. @module */

import { detach } from "../../nn/math.ts";
import { matmul } from "../../nn/matmul.ts";
import { Tape } from "../../nn/tape.ts";
import type { Parameter } from "../../nn/tensor.ts";
import type { Metrics } from "../../train/loop.ts";
import { readScalars } from "../../train/learner.ts";
import type { ImageBatch, TokenizerLearner } from "../../train/tokenizer_learner.ts";
import { largestDifference } from "./difference.ts";
import { type CheckContext, readParameter } from "./file_check.ts";
import { makeLearner, trainedParameters } from "./gan_learner.ts";
import { MomentReader } from "./gan_moments.ts";
import { numberOf, numbersOf, objectOf, textsOf } from "./json.ts";
import { compareTensor, fingerprint, IMAGE, toEngine } from "./layout.ts";
import { topMargins } from "./margin.ts";
import { pixelMargin } from "./tokenizer.ts";
import type { VectorFile } from "./vectors.ts";

/** How far parameters and averages may be off after the steps, as a share of their largest value. */
const RELATIVE_TOLERANCE = 1e-4;
/**
 * How much further margins may be off once parameters have moved, as a share of the largest margin. Adam's first steps have the length of
 * the learning rate wherever a gradient is not 0, however small it is. One weight of the file's model, of `encoder.mid.block_1.conv1`,
 * has a gradient of 1e-6 of its tensor's largest: less than rounding leaves. Whether it goes up or down follows from the order of sums,
 * which is not the same on all adapters, and moves these margins by up to 7e-5 of the largest.
 */
const UPDATED_MARGIN_SHARE = 1e-4;
/** Step and start of the case in which the discriminator does not take part yet. */
const BEFORE_START = { step: 3, discStart: 10 };

async function imagesOf(file: VectorFile, name: string): Promise<ImageBatch> {
  const { data, shape } = toEngine(await file.input(name), file.shape(name), IMAGE);
  const [batch = 0, height = 0, width = 0, channels = 0] = shape;
  return { images: data, shape: [batch, height, width, channels] };
}

/** Metrics by the reference's names where these differ: one is misspelled, and validation logs the loss without its weight. */
const METRIC_NAMES: ReadonlyMap<string, string> = new Map([
  ["train/unsacled_g_loss", "unscaled_g_loss"],
  ["val/g_loss", "unscaled_g_loss"],
]);

/** Metrics in the order of the file's keys, such as `train/disc_loss`. */
function inOrder(metrics: Metrics, keys: readonly string[]): number[] {
  return keys.map((key) => {
    const name = METRIC_NAMES.get(key) ?? key.replace(/^\w+\//, "");
    return metrics[name] ?? NaN;
  });
}

/** What the forward pass makes of the images before the step. */
async function checkForward(
  { gpu, file }: CheckContext,
  learner: TokenizerLearner,
  options: { prefix: string; batch: ImageBatch; updated: boolean },
): Promise<void> {
  const { prefix, batch, updated } = options;
  using tape = new Tape(gpu, { record: false });
  const x = tape.input(batch.images, batch.shape);
  const { z, indices, reconstruction } = learner.tokenizer.forward(x, { training: true });
  await compareTensor(file, indices, { name: `${prefix}indices`, group: "indices" });
  const { codebook } = learner.tokenizer.quantizer;
  const rows = tape.view(z, [indices.size, z.size / indices.size]);
  const margins = await topMargins(matmul(rows, tape.constant(codebook), { transposeB: true }));
  const name = `${prefix}argmax_margin`;
  if (updated) {
    const expected = await file.input(name);
    const scale = Math.max(...expected);
    file.check(
      "argmax_margin after updates",
      largestDifference(margins, expected) / scale,
      UPDATED_MARGIN_SHARE,
    );
  } else await file.compare(name, margins);
  const margin = pixelMargin(batch.images, await reconstruction.read());
  await file.compare(`${prefix}l1_margin`, margin, { group: "l1_margin" });
  if (!file.has(`${prefix}xrec`)) return;
  await compareTensor(file, reconstruction, {
    name: `${prefix}xrec`,
    order: IMAGE,
    group: "xrec",
  });
  const distance = learner.losses.perceptual?.forward(x, reconstruction);
  await compareTensor(file, distance, { name: `${prefix}p_loss`, group: "p_loss" });
}

/** Gradients of the step, as the first moments of Adam show them. */
async function checkGradients(
  { file }: CheckContext,
  gradients: ReadonlyMap<string, Float32Array>,
  prefix: string,
): Promise<void> {
  const zeros = textsOf(file.config.zero_gradient_params, "zero_gradient_params");
  for (const kind of ["grad_d", "grad_g"]) {
    const rows = textsOf(file.config[`${kind}_rows`], `${kind}_rows`);
    const table = rows.flatMap((name) => fingerprint(name, gradients.get(name) ?? [NaN]));
    await file.compare(`${prefix}${kind}_fp`, table, { group: `${kind}_fp` });
    for (const name of rows) {
      const tensor = `${prefix}${kind}.${name}`;
      if (!file.has(tensor)) continue;
      const zero = zeros.includes(name) ? { zero: true } : {};
      await file.compare(tensor, gradients.get(name) ?? [], { group: kind, ...zero });
    }
  }
}

/** Parameters or averages after the step; those without gradient are left out, as Adam turns their noise into whole steps. */
async function checkValues(
  { file }: CheckContext,
  values: ReadonlyMap<string, Parameter>,
  options: { prefix: string; kind: "param" | "ema" },
): Promise<void> {
  const { prefix, kind } = options;
  const order = textsOf(file.config.param_order, "param_order");
  const zeros = textsOf(file.config.zero_gradient_params, "zero_gradient_params");
  const statistics: number[] = [];
  for (const name of order) {
    const parameter = values.get(name);
    const found = parameter ? await readParameter(parameter) : [];
    statistics.push(...fingerprint(name, found).slice(0, 2));
    const tensor = `${prefix}${kind}.${name}`;
    if (!file.has(tensor)) continue;
    if (zeros.includes(name)) {
      file.skip(tensor);
      continue;
    }
    await file.compare(tensor, found, { group: kind });
    const expected = await file.expected(tensor);
    const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    file.check(
      `${kind} relative to its largest value`,
      largestDifference(found, expected) / scale,
      RELATIVE_TOLERANCE,
    );
  }
  await file.compare(`${prefix}${kind}_stats`, statistics, {
    group: `${kind}_stats`,
    only: (index) => !zeros.includes(order[Math.floor(index / 2)] ?? ""),
  });
}

async function checkSteps(context: CheckContext): Promise<void> {
  const { file } = context;
  const learningRate = numberOf(file.config.learning_rate, "learning_rate");
  const [beta1 = 0] = numbersOf(file.config.betas, "betas");
  const keys = textsOf(file.config.log_keys, "log_keys");
  using learner = await makeLearner(context);
  const moments = new MomentReader(learner, beta1);
  for (let step = 0; file.has(`x${step}`); step++) {
    const prefix = `step${step + 1}.`;
    const batch = await imagesOf(file, `x${step}`);
    await checkForward(context, learner, { prefix, batch, updated: step > 0 });
    const metrics = await learner.step([batch], { step, learningRate, clip: null });
    await file.compare(`${prefix}logged`, inOrder(metrics, keys), { group: "logged" });
    const averages: number[] = [];
    for (const [, average] of learner.losses.state()) averages.push(...await average.read());
    await file.compare(`${prefix}lecam_ema`, averages, { group: "lecam_ema" });
    await checkGradients(context, await moments.gradients(), prefix);
    await checkValues(context, trainedParameters(learner), { prefix, kind: "param" });
    const shadows = new Map(learner.averages?.averages() ?? []);
    await checkValues(context, shadows, { prefix, kind: "ema" });
    for (const [name, parameter] of learner.discriminator.namedParameters()) {
      const tensor = `${prefix}disc_buffers.${name}`;
      if (!file.has(tensor)) continue;
      await file.compare(tensor, await readParameter(parameter), { group: "disc_buffers" });
    }
  }
}

/** Both losses on the initial state, in training mode, without an update between them. */
async function trainingLosses(
  { gpu }: CheckContext,
  learner: TokenizerLearner,
  options: { batch: ImageBatch; step: number },
): Promise<Metrics> {
  const { batch, step } = options;
  using tape = new Tape(gpu);
  const x = tape.input(batch.images, batch.shape);
  const output = learner.tokenizer.forward(x, { training: true });
  const { reconstruction } = output;
  const opponent = {
    logits: (images: typeof x) => learner.discriminator.forward(images, { training: true }),
    lastLayer: learner.tokenizer.decoder.convOut.weight,
  };
  const judged = learner.losses.discriminator(
    { x, reconstruction: detach(reconstruction) },
    opponent,
    step,
  );
  const generated = learner.losses.generator({ x, output, reconstruction }, opponent, step);
  return await readScalars({ ...judged.metrics, ...generated.metrics });
}

/** Losses in validation, before the discriminator takes part, and with the adaptive weight. */
async function checkExtra(context: CheckContext): Promise<void> {
  const { file } = context;
  const keys = objectOf(file.config.extra_keys, "extra_keys");
  const batch = await imagesOf(file, "x0");
  const compare = (name: string, metrics: Metrics): Promise<void> =>
    file.compare(`extra.${name}`, inOrder(metrics, textsOf(keys[name], `extra_keys.${name}`)));
  {
    using learner = await makeLearner(context);
    const { metrics } = await learner.evaluate(batch, 0);
    await compare("val_eval_mode", metrics);
  }
  {
    const { step, discStart } = BEFORE_START;
    using learner = await makeLearner(context, { discStart });
    await compare("before_disc_start", await trainingLosses(context, learner, { batch, step }));
  }
  using learner = await makeLearner(context, { genLossWeight: null });
  await compare("adaptive_d_weight", await trainingLosses(context, learner, { batch, step: 0 }));
}

/**
 * Compares everything in the file.
 *
 * @param context Device and files.
 */
export async function checkGanStep(context: CheckContext): Promise<void> {
  await checkSteps(context);
  await checkExtra(context);
}

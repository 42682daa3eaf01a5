/** Checks `discriminator.safetensors`: logits, running statistics, adversarial losses, LeCAM and gradients. @module */

import { NLayerDiscriminator } from "../../models/discriminator.ts";
import { Lecam, type Logits } from "../../models/lecam.ts";
import {
  hingeLoss,
  nonSaturatingDiscriminatorLoss,
  nonSaturatingGeneratorLoss,
  vanillaLoss,
} from "../../models/losses.ts";
import { toFileLayout } from "../../models/weights.ts";
import { add, scale } from "../../nn/math.ts";
import { ModuleContext } from "../../nn/module.ts";
import { Tape } from "../../nn/tape.ts";
import type { Tensor } from "../../nn/tensor.ts";
import { type CheckContext, loadState, readParameter } from "./file_check.ts";
import { type JsonObject, numberOf, numbersOf, objectOf, textOf } from "./json.ts";
import { compareTensor, IMAGE, upload } from "./layout.ts";

/** Updates of LeCAM's averages in the table. */
const LECAM_UPDATES = 3;

/** Weight of LeCAM in the discriminator's loss, which the file has in a formula only. */
function lecamWeight(formula: string): number {
  return Number(/([\d.]+)\s*\*\s*lecam/.exec(formula)?.[1] ?? NaN);
}

/** LeCAM's averages and regularization after each update; gives the regularization after the last. */
async function checkLecam(
  { gpu, file }: CheckContext,
  logits: Logits,
  options: { name: string; config: JsonObject },
): Promise<Tensor> {
  const { name, config } = options;
  const group = `${name} lecam`;
  using lecam = new Lecam(new ModuleContext(gpu, 0), {
    decay: numberOf(config.lecam_decay, `${name}.lecam_decay`),
  });
  const [real = 0, fake = 0] = numbersOf(config.lecam_initial, `${name}.lecam_initial`);
  lecam.real.write(Float32Array.of(real));
  lecam.fake.write(Float32Array.of(fake));
  await compareTensor(file, lecam.regularization(logits), {
    name: `${name}.lecam_reg_initial`,
    group,
  });
  const table: number[] = [];
  for (let update = 0; update < LECAM_UPDATES; update++) {
    lecam.update({
      real: scale(logits.real, 1 + update),
      fake: scale(logits.fake, 1 - update),
    });
    table.push(...await lecam.real.read(), ...await lecam.fake.read());
    table.push(...await lecam.regularization(logits).read());
  }
  await file.compare(`${name}.lecam_table`, table, { group });
  const regularization = lecam.regularization(logits);
  await compareTensor(file, regularization, { name: `${name}.lecam_reg_after3`, group });
  return regularization;
}

async function checkCase(context: CheckContext, name: string, config: JsonObject): Promise<void> {
  const { gpu, file } = context;
  using model = new NLayerDiscriminator(new ModuleContext(gpu, 0), {
    inChannels: numbersOf(config.input, `${name}.input`)[1] ?? 0,
    ndf: numberOf(config.ndf, `${name}.ndf`),
    numLayers: numberOf(config.n_layers, `${name}.n_layers`),
  });
  await loadState(model, file, { prefix: `${name}.state.`, group: `${name} state` });
  using tape = new Tape(gpu);
  const images = await upload(tape, file, { name: `${name}.real`, order: IMAGE });
  const fakes = await upload(tape, file, { name: `${name}.fake`, order: IMAGE });
  const compareImage = (tensor: string, group: string, found: Tensor | undefined): Promise<void> =>
    compareTensor(file, found, { name: `${name}.${tensor}`, order: IMAGE, group });

  const values = `${name} logits`;
  await compareImage("logits_eval", values, model.forward(images, { training: false }));
  // Both batches move the running statistics, in this order.
  const logits: Logits = {
    real: model.forward(images, { training: true }),
    fake: model.forward(fakes, { training: true }),
  };
  await compareImage("logits_real", values, logits.real);
  await compareImage("logits_fake", values, logits.fake);
  for (const [path, parameter] of model.namedParameters()) {
    if (parameter.trainable) continue;
    const after = `${name}.state_after.${path}`;
    await file.compare(after, await readParameter(parameter), { group: `${name} state_after` });
  }

  const hinge = hingeLoss(logits);
  const vanilla = vanillaLoss(logits);
  const generator = nonSaturatingGeneratorLoss(logits.fake);
  const nonSaturating = nonSaturatingDiscriminatorLoss(logits);
  const losses: [string, Tensor][] = [
    ["hinge_d_loss", hinge],
    ["vanilla_d_loss", vanilla],
    ["non_saturate_gen_loss", generator],
    ["non_saturate_d_loss", nonSaturating],
  ];
  for (const [loss, found] of losses) {
    await compareTensor(file, found, { name: `${name}.${loss}`, group: `${name} losses` });
  }
  const lecam = await checkLecam(context, logits, { name, config });

  const total = add(hinge, lecam, { beta: lecamWeight(textOf(config.d_loss, `${name}.d_loss`)) });
  const gradients = tape.grad(total, model.trainableParameters());
  for (const [path, parameter] of model.namedParameters()) {
    if (!parameter.trainable) continue;
    const gradient = new Float32Array(await gradients.get(parameter)?.read() ?? []);
    const options = { group: `${name} grad_d` };
    await file.compare(`${name}.grad_d.${path}`, toFileLayout(parameter, gradient), options);
  }
  const byFake: [string, Tensor][] = [
    ["grad_g.fake", generator],
    ["grad_vanilla.fake", vanilla],
    ["grad_non_saturate_d.fake", nonSaturating],
  ];
  for (const [tensor, loss] of byFake) {
    await compareImage(tensor, `${name} grad.fake`, tape.grad(loss, [fakes]).get(fakes));
  }
}

/**
 * Compares every discriminator of the file.
 *
 * @param context Device and file.
 */
export async function checkDiscriminator(context: CheckContext): Promise<void> {
  for (const [name, config] of Object.entries(context.file.config)) {
    await checkCase(context, name, objectOf(config, name));
  }
}

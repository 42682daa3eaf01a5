/** Checks the training steps of the transformer in `optim.safetensors`: schedule, gradients, clipping and AdamW together. @module */

import { Adam } from "../../nn/optim.ts";
import { Tape } from "../../nn/tape.ts";
import { scheduleRow } from "../../train/schedule_table.ts";
import { type CheckContext, loadState, readParameter } from "./file_check.ts";
import { makeTransformer, tokenBatch } from "./gpt_model.ts";
import { type JsonObject, numberOf, numbersOf, objectOf, textOf, textsOf } from "./json.ts";
import { compareTensor, fingerprint } from "./layout.ts";

/**
 * Compares losses, gradient norms and parameters of every step.
 *
 * @param context Device and files.
 * @param name Prefix of the steps, which numbers from 1 follow.
 * @param config Optimizer, schedule, and the file with the initial weights.
 */
export async function checkTransformerSteps(
  context: CheckContext,
  name: string,
  config: JsonObject,
): Promise<void> {
  const { gpu, file } = context;
  using start = await context.open("gpt");
  using model = makeTransformer(gpu, objectOf(start.config.gpt, "gpt"));
  await loadState(model, start, { prefix: "state.", group: `${name} state`, report: file });
  const [beta1 = 0, beta2 = 0] = numbersOf(config.betas, `${name}.betas`);
  using optimizer = new Adam(model.namedParameters(), {
    betas: [beta1, beta2],
    eps: numberOf(config.eps, `${name}.eps`),
    decoupled: true,
  });
  const row = scheduleRow(textOf(config.schedule, `${name}.schedule`), file.config);
  const order = textsOf(config.param_order, `${name}.param_order`);
  const parameters = new Map(model.namedParameters());

  for (let step = 1; file.has(`${name}${step}.tokens`); step++) {
    const prefix = `${name}${step}.`;
    const [learningRate = NaN, weightDecay = NaN] = row?.(step - 1) ?? [];
    using tape = new Tape(gpu);
    const loss = model.loss(await tokenBatch(tape, file, { prefix }));
    await compareTensor(file, loss, { name: `${prefix}loss`, group: `${name} loss` });
    const norm = optimizer.step(tape.grad(loss, model.trainableParameters()), {
      learningRate,
      weightDecay,
      clip: numberOf(config.grad_clip, `${name}.grad_clip`),
    });
    await compareTensor(file, norm, { name: `${prefix}grad_norm`, group: `${name} grad_norm` });
    const statistics: number[] = [];
    for (const path of order) {
      const parameter = parameters.get(path);
      const values = parameter ? await readParameter(parameter) : [];
      statistics.push(...fingerprint(path, values).slice(0, 2));
      if (file.has(`${prefix}param.${path}`)) {
        await file.compare(`${prefix}param.${path}`, values, { group: `${name} param` });
      }
    }
    await file.compare(`${prefix}param_stats`, statistics, { group: `${name} param_stats` });
  }
}

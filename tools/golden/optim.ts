/** Checks `optim.safetensors`: Adam and AdamW, clipping, schedules, and training steps of the transformer. @module */

import { clipGradients } from "../../nn/gradient_norm.ts";
import { Adam } from "../../nn/optim.ts";
import { Tape } from "../../nn/tape.ts";
import { type Operand, Parameter, type Tensor } from "../../nn/tensor.ts";
import { scheduleRow } from "../../train/schedule_table.ts";
import type { CheckContext } from "./file_check.ts";
import { type JsonObject, numberOf, numbersOf, objectOf } from "./json.ts";
import { compareTensor, upload } from "./layout.ts";
import { checkTransformerSteps } from "./transformer_steps.ts";

/** Numbers that follow a prefix in the names of the file, such as 0, 1, 2 of `grad0`, `grad1`, `grad2`. */
function numbered(context: CheckContext, prefix: string, suffix = ""): number[] {
  const { file } = context;
  const numbers: number[] = [];
  while (file.has(`${prefix}${numbers.length}${suffix}`)) numbers.push(numbers.length);
  return numbers;
}

/** An optimizer fed with the file's gradients. */
async function checkAdam(context: CheckContext, name: string, config: JsonObject): Promise<void> {
  const { gpu, file } = context;
  const [beta1 = 0, beta2 = 0] = numbersOf(config.betas, `${name}.betas`);
  const parameters: Parameter[] = [];
  for (const i of numbered(context, `${name}.p`, ".init")) {
    const parameter = new Parameter(gpu, file.shape(`${name}.p${i}.init`));
    parameter.write(await file.input(`${name}.p${i}.init`));
    parameters.push(parameter);
  }
  using optimizer = new Adam(parameters.entries().map(([i, parameter]) => [`p${i}`, parameter]), {
    betas: [beta1, beta2],
    eps: numberOf(config.eps, `${name}.eps`),
    weightDecay: numberOf(config.weight_decay ?? 0, `${name}.weight_decay`),
    decoupled: name.startsWith("adamw"),
  });
  for (let step = 0; step < numberOf(config.steps, `${name}.steps`); step++) {
    using tape = new Tape(gpu, { record: false });
    const gradients = new Map<Operand, Tensor>();
    for (const [i, parameter] of parameters.entries()) {
      gradients.set(parameter, await upload(tape, file, { name: `${name}.p${i}.grad${step}` }));
    }
    optimizer.step(gradients, { learningRate: numberOf(config.lr, `${name}.lr`) });
    for (const [i, parameter] of parameters.entries()) {
      await file.compare(`${name}.p${i}.step${step + 1}`, await parameter.read(), { group: name });
    }
  }
  for (const parameter of parameters) parameter[Symbol.dispose]();
}

async function checkClipping(
  context: CheckContext,
  name: string,
  config: JsonObject,
): Promise<void> {
  const { gpu, file } = context;
  using tape = new Tape(gpu, { record: false });
  const inputs: Tensor[] = [];
  for (const i of numbered(context, `${name}.grad`)) {
    inputs.push(await upload(tape, file, { name: `${name}.grad${i}` }));
  }
  const { norm, gradients } = clipGradients(
    new Map(inputs.map((input) => [input, input])),
    numberOf(config.max_norm, `${name}.max_norm`),
  );
  await compareTensor(file, norm, { name: `${name}.total_norm`, group: name });
  for (const [i, input] of inputs.entries()) {
    await compareTensor(file, gradients.get(input), { name: `${name}.clipped${i}`, group: name });
  }
}

/** A table of positions and values. */
async function checkSchedule(context: CheckContext, name: string): Promise<void> {
  const { file } = context;
  const row = scheduleRow(name, file.config);
  const positions = await file.input(`${name}.step`);
  if (!row) return;
  const values = Float32Array.from([...positions].flatMap((position) => row(position)));
  for (const table of file.names(`${name}.`).filter((tensor) => tensor !== `${name}.step`)) {
    await file.compare(table, values, { group: name });
  }
}

/**
 * Compares every optimizer, clipping and schedule of the file.
 *
 * @param context Device and files.
 */
export async function checkOptim(context: CheckContext): Promise<void> {
  for (const [name, value] of Object.entries(context.file.config)) {
    const config = objectOf(value, name);
    if (name.startsWith("sched.") || name.startsWith("ar_sched.")) {
      await checkSchedule(context, name);
    } else if ("max_norm" in config) await checkClipping(context, name, config);
    else if ("param_order" in config) await checkTransformerSteps(context, name, config);
    else if ("steps" in config) await checkAdam(context, name, config);
  }
}

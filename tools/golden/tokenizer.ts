/** Checks `tokenizer.safetensors`: reconstruction, losses, gradients and every block's output of the tokenizer. @module */

import type { Stage } from "../../models/stages.ts";
import type { Tokenizer } from "../../models/tokenizer.ts";
import { countParameters, toFileLayout } from "../../models/weights.ts";
import type { GroupNorm } from "../../nn/group_norm.ts";
import { l1Loss } from "../../nn/losses.ts";
import { add } from "../../nn/math.ts";
import { matmul } from "../../nn/matmul.ts";
import { Tape } from "../../nn/tape.ts";
import type { Tensor } from "../../nn/tensor.ts";
import { type CheckContext, loadState } from "./file_check.ts";
import { numberOf, textOf, textsOf } from "./json.ts";
import { compareTensor, fingerprint, IMAGE, toFile, upload } from "./layout.ts";
import { topMargins } from "./margin.ts";
import { makeTokenizer } from "./tokenizer_model.ts";

/** Of large gradients the file has every so many-th output channel. */
const ROW_STEP = 13;

/** Weight of the entropy loss, which the file has in a formula only. */
function entropyWeight(formula: string): number {
  return Number(/([\d.]+)\s*\*\s*entropy_loss/.exec(formula)?.[1] ?? NaN);
}

/**
 * The smallest distance of a pixel to its reconstruction, where the gradient of the absolute difference jumps.
 *
 * @param x Images.
 * @param reconstruction As many numbers.
 * @returns The distance, as a list of one.
 */
export function pixelMargin(x: Float32Array, reconstruction: Float32Array): [number] {
  return [
    x.reduce((least, value, i) => Math.min(least, Math.abs(value - reconstruction[i]!)), Infinity),
  ];
}

/** Forward pass, losses and gradients. */
async function checkStep({ gpu, file }: CheckContext, model: Tokenizer): Promise<void> {
  using tape = new Tape(gpu);
  const x = await upload(tape, file, { name: "x", order: IMAGE });
  const output = model.forward(x, { training: true });
  const { h, z, zq, indices, reconstruction, quantLoss, entropyLoss } = output;
  const compareImage = (name: string, found: Tensor | undefined): Promise<void> =>
    compareTensor(file, found, { name, order: IMAGE });
  const compareLoss = (name: string, found: Tensor | undefined): Promise<void> =>
    compareTensor(file, found, { name, group: "losses" });
  await compareImage("h", h);
  await compareImage("z", z);
  await compareTensor(file, indices, { name: "indices" });
  const rows = tape.view(z, [z.size / (z.shape.at(-1) ?? 1), z.shape.at(-1) ?? 1]);
  const logits = matmul(rows, tape.constant(model.quantizer.codebook), { transposeB: true });
  await file.compare("argmax_margin", await topMargins(logits));
  await compareImage("z_q", zq);
  await compareImage("post_quant", model.postQuantConv.forward(zq));
  await compareImage("xrec", reconstruction);
  await file.compare("l1_margin", pixelMargin(await x.read(), await reconstruction.read()));

  if (!entropyLoss) throw new TypeError("Cannot check the entropy loss: expected one, found none");
  const recLoss = l1Loss(x, reconstruction);
  const loss = add(add(recLoss, quantLoss), entropyLoss, {
    beta: entropyWeight(textOf(file.config.loss, "loss")),
  });
  await compareLoss("rec_loss", recLoss);
  await compareLoss("quant_loss", quantLoss);
  await compareLoss("sample_entropy", output.sampleEntropy);
  await compareLoss("avg_entropy", output.averageEntropy);
  await compareLoss("entropy_loss", entropyLoss);
  await compareLoss("loss", loss);

  const found = tape.grad(loss, [...model.trainableParameters(), x]);
  await compareImage("grad_input.x", found.get(x));
  const gradients = new Map<string, Float32Array>();
  for (const [name, parameter] of model.namedParameters()) {
    const gradient = await found.get(parameter)?.read() ?? new Float32Array(0);
    gradients.set(name, toFileLayout(parameter, new Float32Array(gradient)));
  }
  await compareGradients({ gpu, file }, gradients);
}

async function compareGradients(
  { file }: Pick<CheckContext, "gpu" | "file">,
  gradients: ReadonlyMap<string, Float32Array>,
): Promise<void> {
  const zeros = textsOf(file.config.zero_gradient_params, "zero_gradient_params");
  const names = textsOf(file.config.grad_fp_rows, "grad_fp_rows");
  const table: number[] = [];
  for (const name of names) {
    const gradient = gradients.get(name) ?? new Float32Array(0);
    table.push(...fingerprint(name, gradient));
    const rows = `grad_rows${ROW_STEP}.${name}`;
    if (file.has(rows)) {
      await file.compare(rows, everyRow(gradient, file.shape(rows)), { group: "grad" });
    } else {
      const zero = zeros.includes(name) ? { zero: true } : {};
      await file.compare(`grad.${name}`, gradient, { group: "grad", ...zero });
    }
  }
  await file.compare("grad_fp", table);
}

/** Output channels 0, 13, 26, …; `shape` is that of the selection. */
function everyRow(gradient: Float32Array, shape: readonly number[]): number[] {
  const [rows = 1, ...rest] = shape;
  const length = rest.reduce((product, extent) => product * extent, 1);
  return Array.from(
    { length: rows },
    (_, row) => [...gradient.subarray(row * ROW_STEP * length, (row * ROW_STEP + 1) * length)],
  ).flat();
}

/** Runs a stack block by block and condenses what each makes. */
async function traceOf(
  prefix: string,
  stack: { stages: readonly Stage[]; normOut: GroupNorm },
  x: Tensor,
): Promise<Map<string, readonly number[]>> {
  const rows = new Map<string, readonly number[]>();
  let h = x;
  for (const { name, forward } of stack.stages) {
    const y = forward(h, { training: true });
    // The reference's norm ends before the swish, which the engine computes in the same pass.
    const traced = name === "norm_out" ? stack.normOut.forward(h) : y;
    const path = `${prefix}.${name}`;
    rows.set(path, fingerprint(path, toFile(await traced.read(), traced.shape, IMAGE)));
    h = y;
  }
  return rows;
}

async function checkTrace({ gpu, file }: CheckContext, model: Tokenizer): Promise<void> {
  using tape = new Tape(gpu, { record: false });
  const x = await upload(tape, file, { name: "x", order: IMAGE });
  const { z } = model.encode(x);
  const { zq, indices } = model.quantizer.forward(z);
  const rows = new Map([
    ...await traceOf("encoder", model.encoder, x),
    ...await traceOf("decoder", model.decoder, model.postQuantConv.forward(zq)),
  ]);
  const names = textsOf(file.config.trace_rows, "trace_rows");
  await file.compare("trace", names.flatMap((name) => rows.get(name) ?? [NaN, NaN, NaN, NaN]));
  await compareTensor(file, model.decodeIndices(indices), {
    name: "decoded_from_indices",
    order: IMAGE,
  });
}

/**
 * Compares everything in the file.
 *
 * @param context Device and file.
 */
export async function checkTokenizer(context: CheckContext): Promise<void> {
  const { gpu, file } = context;
  using model = makeTokenizer(gpu, file.config);
  await loadState(model, file, { prefix: "state.", group: "state" });
  const expected = numberOf(file.config.params, "params");
  file.check("parameter count", Math.abs(countParameters(model) - expected), 0);
  await checkStep(context, model);
  await checkTrace(context, model);
}

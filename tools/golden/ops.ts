/** Checks `ops.safetensors`: each op's result and gradients, op by op. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import { Tape } from "../../nn/tape.ts";
import { Parameter, Tensor } from "../../nn/tensor.ts";
import type { CheckContext } from "./file_check.ts";
import { objectOf } from "./json.ts";
import { compareTensor, upload } from "./layout.ts";
import { findRunner, type OpRunner } from "./ops_table.ts";
import type { VectorFile } from "./vectors.ts";

/** Whether a tensor of an op is computed, or belongs to the gradients, and is no input of the op. */
function isResult(name: string, runner: OpRunner): boolean {
  return name === "out" || name === "gout" || name.startsWith("grad.") ||
    (runner.results ?? []).includes(name);
}

async function checkOp(gpu: Gpu, file: VectorFile, op: string, runner: OpRunner): Promise<void> {
  const { orders = {} } = runner;
  const tensors = file.names(`${op}.`).map((name) => name.slice(op.length + 1));
  using tape = new Tape(gpu);
  const inputs: Record<string, Tensor> = {};
  for (const name of tensors.filter((tensor) => !isResult(tensor, runner))) {
    inputs[name] = await upload(tape, file, { name: `${op}.${name}`, order: orders[name] });
  }
  const config = objectOf(file.config[op], op);
  const made = runner.run({ op, inputs, config, tape });
  const { out, results, owned } = made instanceof Tensor
    ? { out: made, results: {}, owned: [] }
    : made;
  for (const [name, result] of Object.entries(results)) {
    const found = result instanceof Parameter ? await result.read() : result;
    await file.compare(`${op}.${name}`, found, { group: op });
  }
  await compareTensor(file, out, { name: `${op}.out`, order: orders.out, group: op });
  const gradient = await upload(tape, file, { name: `${op}.gout`, order: orders.out });
  const wrt = tensors.filter((name) => name.startsWith("grad.")).map((name) => name.slice(5));
  const gradients = tape.grad(out, wrt.flatMap((name) => inputs[name] ?? []), {
    gradient: tape.view(gradient, out.shape),
  });
  for (const name of wrt) {
    const found = inputs[name] && gradients.get(inputs[name]);
    await compareTensor(file, found, {
      name: `${op}.grad.${name}`,
      order: orders[name],
      group: op,
    });
  }
  for (const parameter of owned) parameter[Symbol.dispose]();
}

/**
 * Compares every op of the file; an op that is not in the table is a failure.
 *
 * @param context Device and file.
 */
export async function checkOps({ gpu, file }: CheckContext): Promise<void> {
  const ops = new Set(file.names().map((name) => name.split(".", 1)[0] ?? name));
  for (const op of ops) {
    const runner = findRunner(op);
    if (runner) await checkOp(gpu, file, op, runner);
    else file.fail(op, "expected an op of the engine, found none by this name");
  }
}

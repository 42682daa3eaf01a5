/** What a check of one vector file gets. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import { loadParameters, toFileLayout } from "../../models/weights.ts";
import type { Module } from "../../nn/module.ts";
import type { Parameter } from "../../nn/tensor.ts";
import type { VectorFile } from "./vectors.ts";

/** What a check works with. */
export interface CheckContext {
  /** The device. */
  readonly gpu: Gpu;
  /** The file to check. */
  readonly file: VectorFile;
  /** The folder of the file. */
  readonly folder: string;
  /** Opens another file of the same folder, whose tensors this one starts from; dispose it. */
  readonly open: (name: string) => Promise<VectorFile>;
}

/**
 * Compares the tensors of one file with what the engine computes.
 *
 * @param context Device and files.
 */
export type FileCheck = (context: CheckContext) => Promise<void>;

/**
 * Reads a parameter whatever its element type.
 *
 * @param parameter The parameter.
 * @returns Its elements in the file's order of axes.
 */
export async function readParameter(parameter: Parameter): Promise<Float32Array | Uint32Array> {
  const [bytes = new ArrayBuffer(0)] = await parameter.gpu.read([parameter.storage]);
  if (parameter.dtype === "u32") return new Uint32Array(bytes);
  return toFileLayout(parameter, new Float32Array(bytes));
}

/**
 * Loads the weights below a prefix into a module. Names or shapes that do not match are a failure of the file.
 *
 * @param module The module.
 * @param file Where the weights are.
 * @param options `prefix` of the names in the file; `group`: line of the report; `partial`: whether
 * the file may lack weights of the module, default false; `report`: the file that fails, default `file`.
 */
export async function loadState(
  module: Module,
  file: VectorFile,
  options: { prefix: string; group: string; partial?: boolean; report?: VectorFile },
): Promise<void> {
  const { prefix, group, partial = false, report: target = file } = options;
  const report = loadParameters(module, await file.state(prefix));
  const problems = [
    ...(partial ? [] : report.missing).map((name) =>
      `expected ${prefix}${name} in the file, found none`
    ),
    ...report.unexpected.map((name) => `expected ${prefix}${name} in the model, found none`),
    ...report.mismatched.map(({ name, expected, found }) =>
      `expected ${prefix}${name} of shape [${expected}], found [${found}]`
    ),
  ];
  for (const problem of problems) target.fail(group, problem);
}

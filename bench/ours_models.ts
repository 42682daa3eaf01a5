/** The engine's whole models as cases of the bench. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { ModelCase } from "./cases.ts";
import { type OpenCase, Unsupported } from "./protocol.ts";

export function openModel(_gpu: Gpu, model: ModelCase, _folder: string): Promise<OpenCase> {
  throw new Unsupported(model);
}

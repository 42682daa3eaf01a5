/** The engine's whole models as cases of the bench. @module */

import type { Gpu } from "../kernels/gpu.ts";
import type { ModelCase } from "./cases.ts";
import { openSampling } from "./ours_sampling.ts";
import { openStep } from "./ours_step.ts";
import { openTokenizer } from "./ours_tokenizer.ts";
import type { OpenCase } from "./protocol.ts";

/**
 * Makes a model ready, and leaves its weights for the other subjects.
 *
 * @param gpu The device.
 * @param model Which.
 * @param folder Where the weights go, as `modelFile` names them, if anybody needs them.
 * @returns The case.
 */
export function openModel(
  gpu: Gpu,
  model: ModelCase,
  folder: string | undefined,
): Promise<OpenCase> {
  switch (model) {
    case "tokenizer step":
      return openStep(gpu, folder);
    case "encode 256":
    case "decode 256":
      return openTokenizer(gpu, model, folder);
    case "sample GPT-B":
      return openSampling(gpu, folder);
  }
}

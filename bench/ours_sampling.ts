/** The published transformer of size B, which draws one image with guidance, by the engine. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { generateTokens } from "../models/sampler.ts";
import { TokenPredictor } from "../models/token_predictor.ts";
import { Transformer } from "../models/transformer.ts";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import { saveCheckpoint } from "../train/checkpoint.ts";
import { modelFile, SAMPLING } from "./cases.ts";
import type { OpenCase } from "./protocol.ts";

/** @see SEED-Voken configs/IBQ/gpu/imagenet_conditional_llama_B.yaml. */
const OPTIONS = {
  vocabSize: 16384,
  blockSize: SAMPLING.tokens,
  nLayer: 16,
  nHead: 16,
  nEmbd: 1024,
  classNum: 1000,
};
/** The head starts with zeros, whose logits would show nothing. */
const HEAD_DEVIATION = 0.02;

/**
 * Makes the transformer ready.
 *
 * @param gpu The device.
 * @param folder Where the weights go, if anybody needs them.
 * @returns The case; its result are the logits of the first token, with the class and without.
 */
export async function openSampling(gpu: Gpu, folder: string | undefined): Promise<OpenCase> {
  const context = new ModuleContext(gpu, 1);
  const transformer = new Transformer(context, OPTIONS);
  const entries = [...transformer.namedParameters()].map(([name, parameter]) => ({
    name,
    parameter,
  }));
  for (const { name, parameter } of entries) {
    if (name !== "head.weight") continue;
    using drawn = context.parameter(parameter.shape, {
      kind: "normal",
      standardDeviation: HEAD_DEVIATION,
    });
    gpu.copy(drawn.storage, parameter.storage);
  }
  if (folder !== undefined) await saveCheckpoint(modelFile(folder, "sample GPT-B"), entries, {});
  const { label, guidance } = SAMPLING;
  return {
    run: async (repetitions) => {
      for (let seed = 0; seed < repetitions; seed++) {
        await generateTokens(transformer, {
          classes: [label],
          seeds: [seed],
          guidance,
          topK: 0,
          topP: 1,
        });
      }
    },
    result: async () => {
      using tape = new Tape(gpu, { record: false });
      const classes = tape.input(Uint32Array.of(label, OPTIONS.classNum), [2]);
      using predictor = new TokenPredictor(transformer, classes);
      return Float32Array.from(await predictor.next().read());
    },
    close: () => transformer[Symbol.dispose](),
  };
}

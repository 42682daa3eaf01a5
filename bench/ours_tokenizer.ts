/** The published tokenizer of 16,384 codes on one image of 256 × 256 pixels, by the engine. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { Tokenizer } from "../models/tokenizer.ts";
import { ModuleContext } from "../nn/module.ts";
import { Tape } from "../nn/tape.ts";
import { saveCheckpoint } from "../train/checkpoint.ts";
import { draw, modelFile } from "./cases.ts";
import type { OpenCase } from "./protocol.ts";

/** @see SEED-Voken configs/IBQ/gpu/imagenet_ibqgan_16384.yaml. */
const OPTIONS = {
  ddconfig: {
    zChannels: 256,
    resolution: 256,
    inChannels: 3,
    outCh: 3,
    ch: 128,
    chMult: [1, 1, 2, 2, 4],
    numResBlocks: 4,
    attnResolutions: [16],
    dropout: 0,
    numGroups: 32,
  },
  nEmbed: 16384,
  embedDim: 256,
  useEntropyLoss: true,
  entropyTemperature: 0.01,
  beta: 0.25,
};
const IMAGE = { shape: [1, 256, 256, 3], seed: 1 };
const CODES = { shape: [1, 16, 16, 256], seed: 2 };

/**
 * Makes the encoder with the quantizer, or the decoder, ready.
 *
 * @param gpu The device.
 * @param model Which way.
 * @param folder Where the weights go, if anybody needs them.
 * @returns The case; its result are the values before the quantizer, or the pixels.
 */
export async function openTokenizer(
  gpu: Gpu,
  model: "encode 256" | "decode 256",
  folder: string | undefined,
): Promise<OpenCase> {
  const tokenizer = new Tokenizer(new ModuleContext(gpu, 1), OPTIONS);
  const entries = [...tokenizer.namedParameters()].map(([name, parameter]) => ({
    name,
    parameter,
  }));
  if (folder !== undefined) await saveCheckpoint(modelFile(folder, model), entries, {});
  const input = model === "encode 256" ? IMAGE : CODES;
  const data = draw(input);
  return {
    run: async (repetitions) => {
      for (let i = 0; i < repetitions; i++) {
        using tape = new Tape(gpu, { record: false });
        const x = tape.input(data, input.shape);
        if (model === "encode 256") tokenizer.tokenize(x);
        else tokenizer.decode(x);
      }
      await gpu.settle();
    },
    result: async () => {
      using tape = new Tape(gpu, { record: false });
      const x = tape.input(data, input.shape);
      const y = model === "encode 256" ? tokenizer.encode(x).z : tokenizer.decode(x);
      return Float32Array.from(await y.read());
    },
    close: () => tokenizer[Symbol.dispose](),
  };
}

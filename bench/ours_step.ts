/** One training step of the default tokenizer, by the engine. @module */

import type { Gpu } from "../kernels/gpu.ts";
import { saveCheckpoint } from "../train/checkpoint.ts";
import {
  asTokenizer,
  batchSizeOf,
  loadConfig,
  type TokenizerRunConfig,
} from "../train/config/mod.ts";
import type { Metrics } from "../train/loop.ts";
import { TokenizerLearner } from "../train/tokenizer_learner.ts";
import { draw, modelFile, STEP } from "./cases.ts";
import type { OpenCase } from "./protocol.ts";

const CONFIG = new URL("../configs/openmoji_tokenizer.yaml", import.meta.url).pathname;

function openLearner(gpu: Gpu, config: TokenizerRunConfig): TokenizerLearner {
  const { params } = config.model;
  const { lossconfig } = params;
  if (lossconfig.target !== "tessera.losses.VQLPIPSWithDiscriminator") {
    throw new TypeError(`Cannot train ${CONFIG}: expected losses, found ${lossconfig.target}`);
  }
  return new TokenizerLearner(gpu, {
    model: params,
    loss: { ...lossconfig.params, useEntropyLoss: params.useEntropyLoss },
    emaDecay: params.emaDecay,
    seed: config.seedEverything,
  });
}

/**
 * Makes the step ready: the configuration's sizes, random weights and images, the discriminator taking part from the first step.
 *
 * @param gpu The device.
 * @param folder Where weights and configuration go, if anybody needs them.
 * @returns The case.
 */
export async function openStep(gpu: Gpu, folder: string | undefined): Promise<OpenCase> {
  const overrides = ["model.lossconfig.disc_start=0"];
  const { config } = asTokenizer(await loadConfig({ file: CONFIG, overrides }));
  const learner = openLearner(gpu, config);
  const { params } = config.model;
  const entries = [
    ...learner.tokenizer.namedParameters(),
    ...learner.discriminator.namedParameters("loss.discriminator."),
    ...learner.losses.perceptual?.namedParameters("loss.perceptual_loss.") ?? [],
  ].map(([name, parameter]) => ({ name, parameter }));
  if (folder !== undefined) {
    await saveCheckpoint(modelFile(folder, "tokenizer step"), entries, {
      config: JSON.stringify(params),
    });
  }
  const { resolution } = params.ddconfig;
  const shape = [batchSizeOf(config), resolution, resolution, 3] as const;
  const images = draw({ shape, seed: STEP.seed }).map((value) => 2 * value);
  const first: Metrics[] = [];
  let step = 0;
  const once = (): Promise<Metrics> =>
    learner.step([{ images, shape }], {
      step: step++,
      learningRate: STEP.learningRate,
      clip: null,
    });
  const run = async (steps: number): Promise<void> => {
    let metrics: Promise<Metrics> | undefined;
    for (let i = 0; i < steps; i++) {
      metrics = once();
      if (first.length < STEP.compared) first.push(await metrics);
    }
    await metrics;
  };
  return {
    run,
    result: async () => {
      await run(STEP.compared - first.length);
      return Float32Array.from(
        first.flatMap((metrics) => STEP.losses.map((name) => metrics[name] ?? NaN)),
      );
    },
    close: () => learner[Symbol.dispose](),
  };
}

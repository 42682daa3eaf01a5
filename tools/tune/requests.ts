/** The products of the models of configurations: one training step of each stage is recorded, over random data. @module */

import type { Gpu } from "../../kernels/gpu.ts";
import type { ProductRequest } from "../../kernels/tile_table.ts";
import {
  asTokenizer,
  asTransformer,
  completeTransformer,
  imageSize,
  isTokenizerRun,
  type LoadedConfig,
  type TokenizerConfig,
} from "../../train/config/mod.ts";
import { lossOf } from "../../train/stages.ts";
import { TokenizerLearner } from "../../train/tokenizer_learner.ts";
import { TransformerLearner } from "../../train/transformer_learner.ts";

/** Classes of a transformer whose configuration leaves them to the data set. */
const CLASSES = 9;
const LEARNING_RATE = 1e-4;

/**
 * Runs a training step of each configuration and lists the products in it.
 *
 * @param gpu The device.
 * @param configs Configurations, a tokenizer's before the transformer's that uses it.
 * @returns The first product of each class.
 */
export async function collectRequests(
  gpu: Gpu,
  configs: readonly LoadedConfig[],
): Promise<ProductRequest[]> {
  let tokenizer: TokenizerConfig | null = null;
  for (const loaded of configs) {
    if (isTokenizerRun(loaded.config)) {
      tokenizer = loaded.config.model.params;
      await tokenizerStep(gpu, loaded);
    } else await transformerStep(gpu, loaded, tokenizer);
    gpu.trim();
  }
  return [...gpu.tiles.requests.values()];
}

async function tokenizerStep(gpu: Gpu, loaded: LoadedConfig): Promise<void> {
  const { config, file } = asTokenizer(loaded);
  const { params } = config.model;
  const loss = lossOf(config, file);
  using learner = new TokenizerLearner(gpu, {
    model: params,
    loss: { ...loss, useEntropyLoss: params.useEntropyLoss },
    emaDecay: null,
    seed: config.seedEverything,
  });
  const size = imageSize(config, params);
  const shape = [config.data.params.batchSize, size, size, 3] as const;
  const length = shape.reduce((product, extent) => product * extent, 1);
  const images = Float32Array.from({ length }, (_, i) => Math.sin(i));
  // Late enough for the discriminator to take part.
  const step = loss.discStart;
  await learner.step([{ images, shape }], { step, learningRate: LEARNING_RATE, clip: null });
}

async function transformerStep(
  gpu: Gpu,
  loaded: LoadedConfig,
  tokenizer: TokenizerConfig | null,
): Promise<void> {
  const run = asTransformer(loaded);
  const { classNum } = run.config.model.params.transformerConfig.params;
  const { config, gpt } = completeTransformer(run.config, {
    tokenizer: run.config.model.params.firstStageConfig === null ? tokenizer : null,
    classNum: classNum ?? CLASSES,
    file: run.file,
  });
  using learner = new TransformerLearner(gpu, { model: gpt, seed: config.seedEverything });
  const images = config.data.params.batchSize;
  const tokens = Uint32Array.from(
    { length: images * gpt.blockSize },
    (_, i) => i % gpt.vocabSize,
  );
  const labels = Uint32Array.from({ length: images }, (_, i) => i % gpt.classNum);
  await learner.step([{ tokens, labels }], {
    step: 0,
    learningRate: LEARNING_RATE,
    weightDecay: 0,
    clip: null,
  });
}

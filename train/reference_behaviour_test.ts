/** Tests of what docs/reference_behaviour.md says of stage I and no other test shows. @module */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { gpuTest, randomNumbers } from "../tests/op_case.ts";
import { runTest, trainStage } from "../tests/tiny_run.ts";
import { toFileLayout } from "../models/weights.ts";
import { openTensors } from "./files/open_tensors.ts";
import { readFloat32 } from "./files/tensor_file.ts";
import { openTokenizer } from "./open_models.ts";
import { RunFolder } from "./run_folder.ts";
import { DISCRIMINATOR } from "./stage_optimizers.ts";
import { averageName, TokenizerLearner } from "./tokenizer_learner.ts";

const CODES = 16;

gpuTest(
  "the codebook's average starts as noise, all others as copies; LeCAM's averages are kept and move in validation",
  async (gpu) => {
    using learner = new TokenizerLearner(gpu, {
      model: {
        ddconfig: {
          ...{ resolution: 8, inChannels: 3, outCh: 3, ch: 4, chMult: [1, 1], numResBlocks: 1 },
          ...{ attnResolutions: [], numGroups: 2, zChannels: 4, dropout: 0 },
        },
        nEmbed: CODES,
        embedDim: 4,
      },
      loss: {
        ...{ discStart: 0, codebookWeight: 1, pixellossWeight: 1, discNumLayers: 1, discNdf: 4 },
        ...{ discInChannels: 3, discFactor: 1, discWeight: 0.4, discLoss: "hinge" },
        ...{ useActnorm: false, discConditional: false, perceptualWeight: 0, genLossWeight: 0.1 },
        ...{ lecamLossWeight: 0.05, quantLossWeight: 1, entropyLossWeight: 0.05 },
        ...{ vggWidth: [1, 1, 1, 1, 1], vggWeights: null, vggSeed: 0, useEntropyLoss: true },
      },
      emaDecay: 0.999,
      seed: 1,
    });
    const { averages } = learner;
    assert(averages);
    const trained = new Map([
      ...learner.tokenizer.namedParameters(),
      ...learner.discriminator.namedParameters(DISCRIMINATOR),
    ]);
    const names: string[] = [];
    for (const [name, average] of averages.averages()) {
      names.push(name);
      const [found, weights] = [await average.read(), await trained.get(name)!.read()];
      if (name === "quantize.embedding.weight") {
        assertNotEquals(found, weights);
        assert(found.every((value) => Math.abs(value) <= 1 / CODES));
      } else assertEquals(found, weights, name);
    }
    // The discriminator has averages as well; the share that is kept is that of single precision.
    assert(names.includes("loss.discriminator.main.0.weight"));
    assertEquals(averages.decay, Math.fround(0.999));

    const lecam = new Map([...learner.entries()].map(({ name, parameter }) => [name, parameter]));
    const real = lecam.get("loss.lecam_ema.logits_real_ema");
    assert(real && lecam.has("loss.lecam_ema.logits_fake_ema"));
    assertEquals([...await real.read()], [0]);
    const images = randomNumbers(2 * 8 * 8 * 3, "x").map((value) => Math.tanh(value));
    await learner.evaluate({ images, shape: [2, 8, 8, 3] }, 0);
    assertNotEquals([...await real.read()], [0]);
  },
);

runTest("openTokenizer() takes the averaged weights", async (gpu, { runs, tokenizerConfig }) => {
  const run = `${runs}/run`;
  assert(await trainStage(gpu, tokenizerConfig, { run, overrides: ["trainer.max_steps=1"] }));
  const opened = await openTokenizer(gpu, new RunFolder(run).stage("tokenizer"));
  using tokenizer = opened.tokenizer;
  using file = await openTensors(opened.checkpoint);
  for (const [name, parameter] of tokenizer.namedParameters()) {
    const found = toFileLayout(parameter, Float32Array.from(await parameter.read()));
    assertEquals(found, await readFloat32(file, averageName(name)), name);
    if (name.startsWith("encoder.conv_in")) {
      assertNotEquals(found, await readFloat32(file, name), name);
    }
  }
});

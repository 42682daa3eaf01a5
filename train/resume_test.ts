/** Tests of trainings that go on from checkpoints of the reference's trainer. @module */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { hashedUniform } from "../models/hashed_uniform.ts";
import type { Adam } from "../nn/optim.ts";
import { withFolder } from "../tests/images.ts";
import { gpuTest } from "../tests/op_case.ts";
import { ignoreFiles, runTest, TINY_TOKENIZER, trainStage } from "../tests/tiny_run.ts";
import type { CheckpointEntry } from "./checkpoint.ts";
import { asTokenizer, parseConfig, resolveConfig } from "./config/mod.ts";
import { UserError } from "./errors.ts";
import { type TorchValue, writeTorch } from "./files/torch_writer.ts";
import { openTraining } from "./reference_training.ts";
import { describeContinuation, resumeTraining } from "./resume.ts";
import {
  OPTIMIZER_NAMES,
  type StageOptimizer,
  TOKENIZER_BETAS,
  tokenizerOptimizers,
  transformerOptimizers,
} from "./stage_optimizers.ts";
import { TokenizerLearner } from "./tokenizer_learner.ts";
import { tokenizerLearnerOptions } from "./training_step.ts";
import { TransformerLearner } from "./transformer_learner.ts";

/** Written by Lightning behind three steps; then each tensor was filled with the hashed number of its name. */
const FOLDER = "tests/golden/training";
const TOKENIZER_SIZES = [
  ...["ch=32", "num_groups=32", "attn_resolutions=[8]", "dropout=0"],
].map((text) => `model.ddconfig.${text}`);
const TRANSFORMER = {
  ...{ vocabSize: 16, blockSize: 64, nLayer: 2, nHead: 2, nEmbd: 32, multipleOf: 32, classNum: 2 },
};

function makeTokenizer(gpu: Gpu): TokenizerLearner {
  const loaded = resolveConfig(parseConfig(TINY_TOKENIZER, "t.yaml"), {
    overrides: TOKENIZER_SIZES,
  });
  return new TokenizerLearner(gpu, tokenizerLearnerOptions(asTokenizer(loaded).config, "t.yaml"));
}

/** Every tensor with a number of its own has it: weights, averages and moments are told apart. */
async function assertFilled(entries: Iterable<CheckpointEntry>): Promise<void> {
  const groups = new Set<string>();
  for (const { name, parameter } of entries) {
    if (/lecam|num_batches_tracked|model_ema\.(decay|num_updates)/.test(name)) continue;
    const key = name.replace(/^optimizer\.((generator|discriminator)\.)?/, "");
    const expected = new Float32Array(parameter.size).fill(hashedUniform(key)(0));
    assertEquals(Float32Array.from(await parameter.read()), expected, name);
    groups.add(name.split(".").slice(0, 2).join("."));
  }
  assert(groups.size >= 3, [...groups].join());
}

function withAdams(
  optimizers: readonly StageOptimizer[],
  adams: readonly Adam[],
): (StageOptimizer & { adam: Adam })[] {
  return optimizers.map((optimizer, i) => ({ ...optimizer, adam: adams[i]! }));
}

const ofFiles = ignoreFiles ? () => {} : gpuTest;

ofFiles("a tokenizer's training of the reference goes on with every tensor", async (gpu) => {
  using learner = makeTokenizer(gpu);
  const said: string[] = [];
  const adams = [learner.generatorOptimizer, learner.discriminatorOptimizer];
  const resumed = await resumeTraining(`${FOLDER}/tokenizer.ckpt`, {
    format: "tessera.tokenizer",
    entries: learner.entries(),
    optimizers: withAdams(tokenizerOptimizers(learner), adams),
    lossScaling: undefined,
    say: (line) => said.push(line),
  });
  // Lightning was kept from counting the discriminator's steps.
  assertEquals(resumed, { step: 3, reference: { epoch: 0, learningRate: 1e-3 } });
  await assertFilled(learner.entries());
  for (const adam of adams) assertEquals(new Set(Object.values(adam.stepCounts)), new Set([3]));
  assertStringIncludes(said[0]!, "0 missing, 0 unexpected, 0 of another shape; left aside: loss");
  assertStringIncludes(said[1]!, "LeCAM's averages start anew");
});

ofFiles("a transformer's training of the reference goes on with every tensor", async (gpu) => {
  using learner = new TransformerLearner(gpu, { seed: 1, model: TRANSFORMER });
  const resumed = await resumeTraining(`${FOLDER}/transformer.ckpt`, {
    format: "tessera.transformer",
    entries: learner.entries(),
    optimizers: withAdams(transformerOptimizers(learner.transformer), [learner.optimizer]),
    lossScaling: undefined,
    say: () => {},
  });
  assertEquals(resumed.step, 3);
  await assertFilled(learner.entries());
  assertEquals(new Set(Object.values(learner.optimizer.stepCounts)), new Set([3]));
});

ofFiles("what is no state of the stage's optimizers is refused by name", async (gpu) => {
  using learner = makeTokenizer(gpu);
  const optimizers = tokenizerOptimizers(learner);
  const [generator, discriminator] = [optimizers[0]!, optimizers[1]!];
  const refused = async (
    file: string,
    stage: readonly StageOptimizer[],
    message: string,
  ): Promise<void> => {
    const open = () => openTraining(file, { format: "x", optimizers: stage });
    assertStringIncludes((await assertRejects(open, UserError)).message, message);
  };
  const own = `${FOLDER}/tokenizer.ckpt`;
  await refused(`${FOLDER}/transformer.ckpt`, optimizers, "expected 2 optimizers, found 1");
  await refused("tests/golden/ckpt/bare_state_dict.pt", optimizers, "found weights alone");
  const other = { ...generator, betas: [0.9, 0.95] as const };
  await refused(own, [other, discriminator], "expected betas 0.9,0.95 in optimizer_states[0]");
  const fewer = { ...discriminator, groups: [discriminator.groups[0]!.slice(1)] };
  await refused(own, [generator, fewer], "groups of 6 parameters in optimizer_states[1], found 7");
  // What a parameter lacks is found when weights and moments are compared, before anything is written.
  const [first, ...others] = generator.groups[0]!;
  const renamed = { ...generator, groups: [[`${first}x`, ...others]] };
  const entries = learner.entries();
  const adams = [learner.generatorOptimizer, learner.discriminatorOptimizer];
  const resume = () =>
    resumeTraining(own, {
      format: "x",
      entries,
      optimizers: withAdams([renamed, discriminator], adams),
      lossScaling: undefined,
      say: () => {},
    });
  const { message } = await assertRejects(resume, UserError);
  assertStringIncludes(message, `optimizer.generator.${first}.exp_avg is missing`);
});

Deno.test({
  name: "openTraining() knows Adam by its moments, and steps that Lightning counted twice",
  ignore: ignoreFiles,
  fn: () =>
    withFolder({}, async (folder) => {
      const path = `${folder}/a.ckpt`;
      const tensor = (name: string) => ({
        ...{ name, dtype: "F32", shape: [1], data: Float32Array.of(2) } as const,
      });
      const write = (globalStep: number, state: [string, TorchValue][]) => {
        const group = new Map<string, TorchValue>([
          ["lr", 0.5],
          ["betas", TOKENIZER_BETAS],
          ["eps", 1e-8],
          ["params", [0]],
        ]);
        const optimizer = new Map<string, TorchValue>([
          ["state", new Map([[0, new Map(state)]])],
          ["param_groups", [group]],
        ]);
        const scaler = new Map([["scale", 1024], ["_growth_tracker", 7]]);
        return writeTorch(path, [tensor("a"), tensor("b")], {
          entries: new Map<string, TorchValue>([
            ["global_step", globalStep],
            ["optimizer_states", [optimizer, optimizer]],
            ["MixedPrecision", scaler],
          ]),
        });
      };
      const optimizers = [
        { ...OPTIMIZER_NAMES.generator, groups: [["a"]], betas: TOKENIZER_BETAS },
        { ...OPTIMIZER_NAMES.discriminator, groups: [["b"]], betas: TOKENIZER_BETAS },
      ];
      const moments: [string, TorchValue][] = [
        ["exp_avg", tensor("m")],
        ["exp_avg_sq", tensor("v")],
      ];
      for (const [globalStep, step] of [[5, "5"], [10, "5"], [9, "9"]] as const) {
        await write(globalStep, [["step", 5], ...moments]);
        using training = await openTraining(path, { format: "x", optimizers });
        assertEquals(Object.fromEntries(training.file.metadata), {
          format: "x",
          step,
          generator_steps: '{"a":5}',
          discriminator_steps: '{"b":5}',
          loss_scale: '{"scale":1024,"cleanSteps":7,"steps":[]}',
        });
        assertEquals(training.file.entries.get("optimizer.generator.a.exp_avg")?.shape, [1]);
      }
      const cases: readonly [state: [string, TorchValue][], message: string][] = [
        [[["momentum_buffer", tensor("m")]], "found momentum_buffer"],
        [
          [["step", 5], ...moments, ["max_exp_avg_sq", tensor("x")]],
          "found exp_avg, exp_avg_sq, m",
        ],
        [[["step", 0.5], ...moments], "a whole number of steps of each parameter, found 0.5"],
        [moments, "a whole number of steps of each parameter, found none"],
      ];
      for (const [state, message] of cases) {
        await write(5, state);
        const open = () => openTraining(path, { format: "x", optimizers });
        assertStringIncludes((await assertRejects(open, UserError)).message, message);
      }
    }),
});

Deno.test("describeContinuation() names another schedule", () => {
  const here = { step: 4, epoch: 2, rates: [0.5, 0.25] };
  const end = ": devices, batch size or schedule differ";
  const line = describeContinuation({ epoch: 1, learningRate: 0.25 }, here);
  assertStringIncludes(line, "step 4 is in epoch 2 here, with learning rate 0.5");
  assert(!line.endsWith(end));
  assert(describeContinuation({ epoch: 1, learningRate: 0.3 }, here).endsWith(end));
});

runTest(
  "fit with the ckpt_path of a Lightning checkpoint trains on from its step",
  async (gpu, { runs, tokenizerConfig, transformerConfig }) => {
    const run = `${runs}/run`;
    const said: string[] = [];
    const train = (config: string, stage: string, ...overrides: string[]): Promise<boolean> =>
      trainStage(gpu, config, {
        run,
        overrides: [
          ...["trainer.max_steps=5", "trainer.limit_val_batches=0"],
          ...[`ckpt_path=${FOLDER}/${stage}.ckpt`, ...overrides],
        ],
        writeLine: (line) => said.push(line),
      });
    // Every weight of a layer is the same number here: at a rate of 0 nothing can overflow.
    assert(await train(tokenizerConfig, "tokenizer", ...TOKENIZER_SIZES, "model.learning_rate=0"));
    assert(said.some((line) => /tokenizer: resumed .*tokenizer\.ckpt at step 3/.test(line)));
    const sizes = ["n_layer=2", "n_head=2", "n_embd=32", "multiple_of=32"]
      .map((text) => `model.transformer_config.params.${text}`);
    assert(await train(transformerConfig, "transformer", ...sizes, "model.learning_rate=0"));
    assert(said.some((line) => /transformer: resumed .*transformer\.ckpt at step 3/.test(line)));
    const differs = said.filter((line) => line.endsWith("batch size or schedule differ"));
    assertEquals(differs.length, 2, said.join("\n"));
  },
);

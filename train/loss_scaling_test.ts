/** Tests of scaled losses as a learner sees them: what the log shows, what is undone, what a checkpoint holds. @module */

import { assertEquals, assertThrows } from "@std/assert";
import type { Gpu } from "../kernels/gpu.ts";
import { Adam } from "../nn/optim.ts";
import { Parameter } from "../nn/tensor.ts";
import { gpuTest } from "../tests/op_case.ts";
import { UserError } from "./errors.ts";
import { LossScaling } from "./loss_scaling.ts";

/** A parameter of one element with its optimizer, which has counted some steps. */
function open(gpu: Gpu, steps = 0): { scaling: LossScaling; adam: Adam } & Disposable {
  const parameter = new Parameter(gpu, [1]);
  const adam = new Adam([["p", parameter]]);
  adam.restoreStepCounts({ p: steps });
  const scaling = new LossScaling({ optimizers: { norm: adam }, fromGradients: ["weight"] });
  return {
    scaling,
    adam,
    [Symbol.dispose]: () => {
      adam[Symbol.dispose]();
      parameter[Symbol.dispose]();
    },
  };
}

gpuTest("LossScaling leaves what overflowed out of the log, and no loss", (gpu) => {
  using opened = open(gpu);
  const { scaling } = opened;
  const finish = (metrics: Record<string, number>) => scaling.begin().finish(metrics);
  const clean = { loss: 1, weight: 2, norm: 3 };
  assertEquals(finish(clean), { ...clean, loss_scale: 65536 });
  assertEquals(finish({ loss: 1, weight: NaN, norm: Infinity }), {
    loss: 1,
    loss_scale: 65536,
    skipped_updates: 1,
  });
  const broken = { loss: NaN, weight: NaN, norm: NaN };
  assertEquals(finish(broken), { ...broken, loss_scale: 65536 });
});

gpuTest("LossScaling hides no overflow at the smallest scale", (gpu) => {
  using opened = open(gpu);
  opened.scaling.resume({ loss_scale: '{"scale":1,"cleanSteps":0,"steps":[]}' }, "file");
  const metrics = opened.scaling.begin().finish({ loss: 1, norm: Infinity });
  assertEquals(metrics, { loss: 1, norm: Infinity, loss_scale: 1 });
});

gpuTest("LossScaling takes back the count of a step without effect", (gpu) => {
  using opened = open(gpu);
  const { scaling, adam } = opened;
  const counts = [Infinity, 1, 1, Infinity, 1, 1].map((norm) => {
    const { finish } = scaling.begin();
    adam.restoreStepCounts({ p: adam.stepCounts.p! + 1 });
    finish({ norm });
    return adam.stepCounts.p;
  });
  assertEquals(counts, [1, 2, 2, 3, 4, 4]);
});

gpuTest("LossScaling continues from a checkpoint, or anew without", (gpu) => {
  using first = open(gpu, 5);
  first.scaling.begin().finish({ norm: Infinity });
  first.scaling.begin().finish({ norm: 1 });
  using second = open(gpu, 5);
  second.scaling.resume({}, "file");
  assertEquals(second.scaling.begin().scale, 65536);
  using third = open(gpu, 5);
  third.scaling.resume(first.scaling.metadata(), "file");
  assertEquals([third.scaling.begin().scale, third.adam.stepCounts], [32768, { p: 4 }]);
  const texts = [
    "1",
    "{}",
    '{"scale":0,"cleanSteps":0,"steps":[]}',
    '{"scale":1,"cleanSteps":0.5,"steps":[]}',
    '{"scale":1,"cleanSteps":0,"steps":[{"scale":1}]}',
    '{"scale":1,"cleanSteps":0,"steps":[{"scale":1,"skipped":[1]}]}',
  ];
  for (const text of texts) {
    assertThrows(
      () => third.scaling.resume({ loss_scale: text }, "file"),
      UserError,
      `Cannot load file: expected scale, cleanSteps and steps as loss_scale, found ${text}`,
    );
  }
});
